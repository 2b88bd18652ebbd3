"""Stack `backup`: where the cloud site's sealed backups go; nobody can change or delete them for a while."""

import pulumi
from pulumi_alicloud import oss

from infra.outputs import BackupOutputs, SecurityOutputs
from infra.topology import Topology


def build_backup(
    topology: Topology, security: SecurityOutputs, opts: pulumi.ResourceOptions
) -> BackupOutputs:
    """Create the bucket and one for its access log: encrypted, private, TLS only; the first write-once."""
    settings = topology.settings
    names = {
        "backups": f"biyi-backups-{settings.environment}",
        "access-log": f"biyi-backup-log-{settings.environment}",
    }
    buckets = {}
    for kind, name in names.items():
        bucket = oss.Bucket(
            kind,
            bucket=name,
            acl="private",
            storage_class="Standard",
            redundancy_type="ZRS",
            force_destroy=False,
            opts=opts,
        )
        buckets[kind] = bucket
        oss.BucketServerSideEncryption(
            kind,
            bucket=bucket.bucket,
            sse_algorithm="KMS",
            kms_data_encryption="SM4",
            kms_master_key_id=security.key_id,
            opts=opts,
        )
        oss.BucketPublicAccessBlock(kind, bucket=bucket.bucket, block_public_access=True, opts=opts)
        oss.BucketHttpsConfig(
            kind, bucket=bucket.bucket, enable=True, tls_versions=["TLSv1.2", "TLSv1.3"], opts=opts
        )
    oss.BucketVersioning("backups", bucket=buckets["backups"].bucket, status="Enabled", opts=opts)
    oss.BucketWorm(
        "backups",
        bucket=buckets["backups"].bucket,
        retention_period_in_days=settings.backup_days,
        status="Locked",
        opts=opts,
    )
    oss.BucketLogging(
        "backups", bucket=buckets["backups"].bucket, target_bucket=buckets["access-log"].bucket, opts=opts
    )
    return BackupOutputs(
        bucket=buckets["backups"].bucket,
        endpoint=pulumi.Output.from_input(f"https://oss-{settings.cloud.region}-internal.aliyuncs.com"),
    )
