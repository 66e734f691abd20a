// The daemons and the clients of Docker as one program. The name by which it is called decides
// which of them runs.
package main

import (
	"os"
	"path/filepath"

	containerd "github.com/containerd/containerd/v2/cmd/containerd"
	buildx "github.com/docker/buildx/cmd/buildx"
	docker "github.com/docker/cli/cmd/docker"
	compose "github.com/docker/compose/v2/cmd"
	dockerd "github.com/docker/docker/cmd/dockerd"
	swarm "github.com/grpc-ecosystem/go-grpc-prometheus"
)

var programs = map[string]func(){
	"containerd":     containerd.Main,
	"docker":         docker.Main,
	"docker-buildx":  buildx.Main,
	"docker-compose": compose.Main,
	"dockerd":        daemon,
}

// Swarm's metrics have the names of containerd's.
func daemon() {
	swarm.RegisterDefaults()
	dockerd.Main()
}

func main() {
	if main, found := programs[filepath.Base(os.Args[0])]; found {
		main()
		return
	}
	// dockerd starts itself under other names. So may a link of the owner's.
	file, _ := os.Executable()
	if main, found := programs[filepath.Base(file)]; found {
		main()
		return
	}
	daemon()
}
