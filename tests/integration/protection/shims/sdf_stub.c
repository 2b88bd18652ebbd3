/* A device of GM/T 0018 in software, for tests: the calls that SdfRoot makes, with real SM4 (GB/T 32907).
   It keeps nothing secret. The key-encryption key of index n is SM4 of the PIN and n, so two "devices" with
   other PINs differ. Errors are the standard's (SDR_BASE 0x01000000). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SDR_OK 0
#define SDR_UNKNOWERR 0x01000001
#define SDR_PRKRERR 0x01000007 /* no access right to the private key */
#define SDR_KEYNOTEXIST 0x01000008
#define SDR_ALGNOTSUPPORT 0x01000009
#define SDR_INARGERR 0x0100001D

static const uint8_t SBOX[256] = {
0xd6,0x90,0xe9,0xfe,0xcc,0xe1,0x3d,0xb7,0x16,0xb6,0x14,0xc2,0x28,0xfb,0x2c,0x05,0x2b,0x67,0x9a,0x76,0x2a,0xbe,0x04,0xc3,
0xaa,0x44,0x13,0x26,0x49,0x86,0x06,0x99,0x9c,0x42,0x50,0xf4,0x91,0xef,0x98,0x7a,0x33,0x54,0x0b,0x43,0xed,0xcf,0xac,0x62,
0xe4,0xb3,0x1c,0xa9,0xc9,0x08,0xe8,0x95,0x80,0xdf,0x94,0xfa,0x75,0x8f,0x3f,0xa6,0x47,0x07,0xa7,0xfc,0xf3,0x73,0x17,0xba,
0x83,0x59,0x3c,0x19,0xe6,0x85,0x4f,0xa8,0x68,0x6b,0x81,0xb2,0x71,0x64,0xda,0x8b,0xf8,0xeb,0x0f,0x4b,0x70,0x56,0x9d,0x35,
0x1e,0x24,0x0e,0x5e,0x63,0x58,0xd1,0xa2,0x25,0x22,0x7c,0x3b,0x01,0x21,0x78,0x87,0xd4,0x00,0x46,0x57,0x9f,0xd3,0x27,0x52,
0x4c,0x36,0x02,0xe7,0xa0,0xc4,0xc8,0x9e,0xea,0xbf,0x8a,0xd2,0x40,0xc7,0x38,0xb5,0xa3,0xf7,0xf2,0xce,0xf9,0x61,0x15,0xa1,
0xe0,0xae,0x5d,0xa4,0x9b,0x34,0x1a,0x55,0xad,0x93,0x32,0x30,0xf5,0x8c,0xb1,0xe3,0x1d,0xf6,0xe2,0x2e,0x82,0x66,0xca,0x60,
0xc0,0x29,0x23,0xab,0x0d,0x53,0x4e,0x6f,0xd5,0xdb,0x37,0x45,0xde,0xfd,0x8e,0x2f,0x03,0xff,0x6a,0x72,0x6d,0x6c,0x5b,0x51,
0x8d,0x1b,0xaf,0x92,0xbb,0xdd,0xbc,0x7f,0x11,0xd9,0x5c,0x41,0x1f,0x10,0x5a,0xd8,0x0a,0xc1,0x31,0x88,0xa5,0xcd,0x7b,0xbd,
0x2d,0x74,0xd0,0x12,0xb8,0xe5,0xb4,0xb0,0x89,0x69,0x97,0x4a,0x0c,0x96,0x77,0x7e,0x65,0xb9,0xf1,0x09,0xc5,0x6e,0xc6,0x84,
0x18,0xf0,0x7d,0xec,0x3a,0xdc,0x4d,0x20,0x79,0xee,0x5f,0x3e,0xd7,0xcb,0x39,0x48};
static const uint32_t FK[4] = {0xa3b1bac6, 0x56aa3350, 0x677d9197, 0xb27022dc};

static uint32_t rotl(uint32_t x, int n) { return (x << n) | (x >> (32 - n)); }
static uint32_t tau(uint32_t x) {
    return (uint32_t)SBOX[x >> 24] << 24 | (uint32_t)SBOX[x >> 16 & 255] << 16 | (uint32_t)SBOX[x >> 8 & 255] << 8 | SBOX[x & 255];
}
static uint32_t load(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }
static void store(uint8_t *p, uint32_t x) { p[0] = x >> 24; p[1] = x >> 16; p[2] = x >> 8; p[3] = x; }

static void sm4(const uint8_t key[16], const uint8_t in[16], uint8_t out[16], int decrypt) {
    uint32_t k[36], x[36];
    for (int i = 0; i < 4; i++) k[i] = load(key + 4 * i) ^ FK[i];
    for (int i = 0; i < 32; i++) {
        uint32_t ck = 0;
        for (int j = 0; j < 4; j++) ck = ck << 8 | ((4 * i + j) * 7 & 255);
        uint32_t t = tau(k[i + 1] ^ k[i + 2] ^ k[i + 3] ^ ck);
        k[i + 4] = k[i] ^ t ^ rotl(t, 13) ^ rotl(t, 23);
    }
    for (int i = 0; i < 4; i++) x[i] = load(in + 4 * i);
    for (int i = 0; i < 32; i++) {
        uint32_t t = tau(x[i + 1] ^ x[i + 2] ^ x[i + 3] ^ k[decrypt ? 35 - i : i + 4]);
        x[i + 4] = x[i] ^ t ^ rotl(t, 2) ^ rotl(t, 10) ^ rotl(t, 18) ^ rotl(t, 24);
    }
    for (int i = 0; i < 4; i++) store(out + 4 * i, x[35 - i]);
}

typedef struct { unsigned allowed; uint8_t pin[16]; } Session;

static int kek(Session *s, unsigned index, uint8_t out[16]) {
    if (s->allowed != index) return SDR_PRKRERR;
    if (index == 0 || index > 4) return SDR_KEYNOTEXIST;
    uint8_t number[16] = {0};
    number[15] = (uint8_t)index;
    sm4(s->pin, number, out, 0);
    return SDR_OK;
}

int SDF_OpenDevice(void **device) { *device = malloc(1); return SDR_OK; }
int SDF_CloseDevice(void *device) { free(device); return SDR_OK; }
int SDF_OpenSession(void *device, void **session) { (void)device; *session = calloc(1, sizeof(Session)); return SDR_OK; }
int SDF_CloseSession(void *session) { free(session); return SDR_OK; }

int SDF_GetPrivateKeyAccessRight(void *session, unsigned index, const char *pin, unsigned length) {
    Session *s = session;
    if (length < 8 || length > 16) return SDR_PRKRERR;
    memset(s->pin, 0, 16);
    memcpy(s->pin, pin, length);
    s->allowed = index;
    return SDR_OK;
}

int SDF_ImportKeyWithKEK(void *session, unsigned alg, unsigned index, const uint8_t *blob, unsigned length, void **key) {
    uint8_t under[16];
    int code = kek(session, index, under);
    if (code) return code;
    if (alg != 0x401) return SDR_ALGNOTSUPPORT;
    if (length != 16) return SDR_INARGERR;
    *key = malloc(16);
    sm4(under, blob, *key, 1);
    return SDR_OK;
}

int SDF_GenerateKeyWithKEK(void *session, unsigned bits, unsigned alg, unsigned index, uint8_t *blob, unsigned *length, void **key) {
    uint8_t under[16];
    int code = kek(session, index, under);
    if (code) return code;
    if (alg != 0x401 || bits != 128) return SDR_ALGNOTSUPPORT;
    static uint8_t count;
    *key = malloc(16);
    for (int i = 0; i < 16; i++) ((uint8_t *)*key)[i] = (uint8_t)(rand() >> 7) ^ count++;
    sm4(under, *key, blob, 0);
    *length = 16;
    return SDR_OK;
}

static int cbc(void *key, unsigned alg, uint8_t *iv, const uint8_t *in, unsigned n, uint8_t *out, unsigned *m, int decrypt) {
    if (alg != 0x402) return SDR_ALGNOTSUPPORT;
    if (n % 16 || *m < n) return SDR_INARGERR;
    for (unsigned at = 0; at < n; at += 16) {
        uint8_t block[16], next[16];
        if (decrypt) {
            memcpy(next, in + at, 16);
            sm4(key, in + at, block, 1);
            for (int i = 0; i < 16; i++) out[at + i] = block[i] ^ iv[i];
        } else {
            for (int i = 0; i < 16; i++) block[i] = in[at + i] ^ iv[i];
            sm4(key, block, next, 0);
            memcpy(out + at, next, 16);
        }
        memcpy(iv, next, 16);
    }
    *m = n;
    return SDR_OK;
}

int SDF_Encrypt(void *s, void *key, unsigned alg, uint8_t *iv, const uint8_t *in, unsigned n, uint8_t *out, unsigned *m) {
    (void)s;
    return cbc(key, alg, iv, in, n, out, m, 0);
}
int SDF_Decrypt(void *s, void *key, unsigned alg, uint8_t *iv, const uint8_t *in, unsigned n, uint8_t *out, unsigned *m) {
    (void)s;
    return cbc(key, alg, iv, in, n, out, m, 1);
}
int SDF_CalculateMAC(void *s, void *key, unsigned alg, uint8_t *iv, const uint8_t *in, unsigned n, uint8_t *mac, unsigned *m) {
    (void)s;
    uint8_t chained[16];
    if (alg != 0x410) return SDR_ALGNOTSUPPORT;
    if (n % 16 || *m < 16) return SDR_INARGERR;
    memcpy(chained, iv, 16);
    for (unsigned at = 0; at < n; at += 16) {
        for (int i = 0; i < 16; i++) chained[i] ^= in[at + i];
        uint8_t next[16];
        sm4(key, chained, next, 0);
        memcpy(chained, next, 16);
    }
    memcpy(mac, chained, 16);
    *m = 16;
    return SDR_OK;
}

/* For the test that this SM4 is SM4. */
void stub_sm4(const uint8_t *key, const uint8_t *in, uint8_t *out) { sm4(key, in, out, 0); }
