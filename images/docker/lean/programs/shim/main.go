// What runs once for each container or published port, as one program: apart from the daemons,
// because what those prepare at each start would be in memory as often.
package main

import (
	"os"
	"path/filepath"

	shim "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	proxy "github.com/docker/docker/cmd/docker-proxy"
)

func main() {
	if filepath.Base(os.Args[0]) == "docker-proxy" {
		proxy.Main()
	} else {
		shim.Main()
	}
}
