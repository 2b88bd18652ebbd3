// Pulumi's Kubernetes provider with its schema read from beside the program: the provider's own main embeds
// files that are generated at its release and stand in no published module.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
)

// version is given by the linker: the SDK's release that this provider's source belongs to.
var version string

func main() {
	schema, err := beside("schema.json")
	if err == nil {
		var mapping []byte
		if mapping, err = beside("terraform-mapping.json"); err == nil {
			provider.Serve("kubernetes", version, schema, mapping)
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func beside(name string) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(filepath.Dir(self), name))
}
