// Command k3s is the lab's stand-in for k3s: its command line, its units'
// behaviour and its files, with the real etcd, kube-apiserver,
// kube-controller-manager and kube-scheduler inside and a kubelet stand-in that
// runs one real process a pod.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	kubeversion "k8s.io/client-go/pkg/version"
	"sigs.k8s.io/yaml"
)

// version is that of the Kubernetes inside, set by the build.
var version = kubeversion.Get().GitVersion

const (
	dataDir    = "/var/lib/rancher/k3s"
	binDir     = dataDir + "/data/lab/bin"
	tlsDir     = dataDir + "/server/tls"
	agentDir   = dataDir + "/agent"
	configDir  = "/etc/rancher/k3s"
	kubeconfig = configDir + "/k3s.yaml"
)

// config is the part of k3s' configuration that the stand-in understands, and
// one key of its own.
type config struct {
	NodeName         string   `json:"node-name"`
	NodeIP           string   `json:"node-ip"`
	NodeLabel        []string `json:"node-label"`
	EtcdSnapshotDir  string   `json:"etcd-snapshot-dir"`
	EtcdSnapshotName string   `json:"etcd-snapshot-name"`
	// LabMembers lists the servers as name=address, in place of k3s' join
	// protocol.
	LabMembers []string `json:"lab-members"`
}

func (c *config) members() (names, addresses []string) {
	for _, m := range c.LabMembers {
		name, address, _ := strings.Cut(m, "=")
		names, addresses = append(names, name), append(addresses, address)
	}
	return names, addresses
}

// loadConfig reads config.yaml and then config.yaml.d/*.yaml over it, as k3s
// does. Unknown keys are ignored: they are k3s' own.
func loadConfig() (*config, error) {
	files, _ := filepath.Glob(configDir + "/config.yaml.d/*.yaml")
	cfg := &config{EtcdSnapshotDir: dataDir + "/server/db/snapshots", EtcdSnapshotName: "on-demand"}
	for _, file := range append([]string{configDir + "/config.yaml"}, files...) {
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := yaml.Unmarshal(text, cfg); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	if cfg.NodeName == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		cfg.NodeName = name
	}
	return cfg, nil
}

// notify tells systemd something about the unit's state.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		log.Printf("notify: %v", err)
		return
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		log.Printf("notify: %v", err)
	}
}

const usage = `NAME:
   k3s - Kubernetes, but small and simple (lab stand-in)

USAGE:
   k3s [global options] command [command options]

COMMANDS:
   server         Run management server
   agent          Run node agent
   kubectl        Run kubectl
   etcd-snapshot  Manage etcd snapshots (save, ls, delete)

GLOBAL OPTIONS:
   --help, -h     show help
   --version, -v  print the version
`

func main() {
	log.SetFlags(0) // the journal has the time
	args := os.Args[1:]
	if len(args) == 0 {
		fmt.Print(usage)
		return
	}
	var err error
	switch args[0] {
	case "server":
		err = runServer(args[1:])
	case "agent":
		err = runAgent(args[1:])
	case "etcd-snapshot":
		err = runSnapshot(args[1:])
	case "kubectl":
		if os.Getenv("KUBECONFIG") == "" {
			os.Setenv("KUBECONFIG", kubeconfig)
		}
		err = syscall.Exec(binDir+"/kubectl", append([]string{"kubectl"}, args[1:]...), os.Environ())
	case "lab-pki":
		err = makePKI(args[1:])
	case "--version", "-v":
		fmt.Printf("k3s version %s (lab)\ngo version %s\n", version, runtime.Version())
	case "--help", "-h", "help":
		fmt.Print(usage)
	default:
		err = fmt.Errorf("no help topic for %q", args[0])
	}
	if err != nil {
		log.Fatalf("level=fatal msg=%q", err.Error())
	}
}
