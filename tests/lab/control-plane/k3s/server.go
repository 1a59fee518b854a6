package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// auditPolicy keeps what a test asks about: every request of the people and
// programs that act on the cluster, and the writes of the cluster's own parts
// but for their heartbeats.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  resources:
  - {group: coordination.k8s.io, resources: [leases]}
  - {group: "", resources: [events]}
  - {group: events.k8s.io, resources: [events]}
  userGroups: ["system:masters"]
  users: ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"]
- level: None
  users: ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "system:admin"]
  verbs: [get, list, watch]
- level: None
  userGroups: ["` + nodeGroup + `"]
  verbs: [get, list, watch, create, update, patch]
- level: Metadata
`

// child is one of the programs k3s has inside itself and the stand-in runs
// beside itself.
type child struct {
	name string
	args []string
	env  []string
	// vital: k3s cannot go on without it.
	vital bool
}

type exit struct {
	*child
	pid int
	err error
}

// spawner starts children from one locked thread that lives as long as the
// process: the kernel ends a child with the *thread* that started it, so that
// a k3s killed with SIGKILL leaves nothing behind.
type spawner struct {
	start chan func()
	exits chan exit
}

func newSpawner() *spawner {
	s := &spawner{start: make(chan func()), exits: make(chan exit, 8)}
	go func() {
		runtime.LockOSThread()
		for f := range s.start {
			f()
		}
	}()
	return s
}

func (s *spawner) run(c *child) (*exec.Cmd, error) {
	cmd := exec.Command(binDir+"/"+c.name, c.args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), c.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	s.start <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, err
	}
	go func() { err := cmd.Wait(); s.exits <- exit{c, cmd.Process.Pid, err} }()
	return cmd, nil
}

// etcdName is k3s' way to name a member: the node's name and a suffix.
func etcdName(node string) string {
	return fmt.Sprintf("%s-%x", node, sha256.Sum256([]byte(node)))[:len(node)+9]
}

func serverChildren(cfg *config) (etcd, apiserver *child, rest []*child) {
	names, addresses := cfg.members()
	var cluster []string
	for i, name := range names {
		cluster = append(cluster, etcdName(name)+"=https://"+addresses[i]+":2380")
	}
	tls := func(f string) string { return tlsDir + "/" + f }
	cred := func(f string) string { return dataDir + "/server/cred/" + f }
	etcd = &child{name: "etcd", vital: true, args: []string{
		"--name=" + etcdName(cfg.NodeName),
		"--data-dir=" + dataDir + "/server/db/etcd",
		"--listen-client-urls=https://127.0.0.1:2379,https://" + cfg.NodeIP + ":2379",
		"--advertise-client-urls=https://" + cfg.NodeIP + ":2379",
		"--listen-peer-urls=https://127.0.0.1:2380,https://" + cfg.NodeIP + ":2380",
		"--initial-advertise-peer-urls=https://" + cfg.NodeIP + ":2380",
		"--listen-metrics-urls=http://127.0.0.1:2381",
		"--initial-cluster=" + strings.Join(cluster, ","),
		"--initial-cluster-token=hecate-lab", "--initial-cluster-state=new",
		"--client-cert-auth", "--trusted-ca-file=" + tls("etcd/server-ca.crt"),
		"--cert-file=" + tls("etcd/server-client.crt"), "--key-file=" + tls("etcd/server-client.key"),
		"--peer-client-cert-auth", "--peer-trusted-ca-file=" + tls("etcd/peer-ca.crt"),
		"--peer-cert-file=" + tls("etcd/peer-server-client.crt"), "--peer-key-file=" + tls("etcd/peer-server-client.key"),
		"--watch-progress-notify-interval=5s",
		// k3s says 500/5000; the lab's net is one bridge, and an election
		// should not be most of a cold start.
		"--heartbeat-interval=200", "--election-timeout=2000",
		"--log-level=warn",
	}}
	apiserver = &child{name: "kube-apiserver", vital: true, args: []string{
		"--advertise-address=" + cfg.NodeIP, "--bind-address=0.0.0.0", "--secure-port=6443",
		"--allow-privileged=true", "--anonymous-auth=false", "--authorization-mode=Node,RBAC",
		"--client-ca-file=" + tls("client-ca.crt"),
		"--tls-cert-file=" + tls("serving-kube-apiserver.crt"),
		"--tls-private-key-file=" + tls("serving-kube-apiserver.key"),
		"--etcd-servers=https://127.0.0.1:2379", "--etcd-cafile=" + tls("etcd/server-ca.crt"),
		"--etcd-certfile=" + tls("etcd/client.crt"), "--etcd-keyfile=" + tls("etcd/client.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + tls("service.key"),
		"--service-account-signing-key-file=" + tls("service.key"),
		"--service-cluster-ip-range=10.43.0.0/16",
		"--audit-policy-file=" + dataDir + "/server/audit.yaml", "--audit-log-path=/var/log/kube-audit.log",
		"--profiling=false", "--v=1",
	}}
	elect := []string{
		"--leader-elect=true",
		// k3s says 15/10/2: a whole cluster that starts again would wait 15 s
		// for its own old lease.
		"--leader-elect-lease-duration=6s", "--leader-elect-renew-deadline=4s", "--leader-elect-retry-period=1s",
		"--profiling=false", "--v=1", "--bind-address=127.0.0.1",
	}
	with := func(name string) []string {
		file := cred(name)
		return []string{"--kubeconfig=" + file, "--authentication-kubeconfig=" + file,
			"--authorization-kubeconfig=" + file, "--authentication-tolerate-lookup-failure=true"}
	}
	cm := append(with("controller.kubeconfig"), elect...)
	cm = append(cm,
		"--controllers=*,-certificatesigningrequest-signing-controller,-certificatesigningrequest-approving-controller,-certificatesigningrequest-cleaner-controller,-bootstrap-signer-controller,-token-cleaner-controller,-node-ipam-controller,-node-route-controller,-service-lb-controller",
		"--root-ca-file="+tls("server-ca.crt"),
		"--service-account-private-key-file="+tls("service.key"),
		"--service-cluster-ip-range=10.43.0.0/16", "--allocate-node-cidrs=false",
		// 50 s by default: a lab test should not wait a minute to see that a
		// node fell silent.
		"--node-monitor-grace-period=20s", "--node-monitor-period=2s",
		"--kube-api-qps=100", "--kube-api-burst=200",
	)
	scheduler := append(with("scheduler.kubeconfig"), elect...)
	return etcd, apiserver, []*child{{name: "kube-controller-manager", args: cm}, {name: "kube-scheduler", args: scheduler}}
}

func etcdHealthy(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:2381/health", nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func runServer(args []string) error {
	for _, arg := range args {
		if strings.HasPrefix(arg, "--cluster-reset") {
			return errors.New("the lab's k3s cannot do " + arg)
		}
	}
	cfg, err := loadConfig()
	if err != nil {
		return err
	}
	for _, dir := range []string{"/server/db/etcd", "/server/db/snapshots"} {
		if err := os.MkdirAll(dataDir+dir, 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(dataDir+"/server/audit.yaml", []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()

	s := newSpawner()
	running := map[int]*exec.Cmd{}
	start := func(c *child) error {
		cmd, err := s.run(c)
		if err == nil {
			running[cmd.Process.Pid] = cmd
		}
		return err
	}
	log.Printf("level=info msg=\"Starting k3s %s\"", version)
	etcd, apiserver, rest := serverChildren(cfg)
	if err := start(etcd); err != nil {
		return err
	}

	healthy, ready := make(chan struct{}), make(chan struct{})
	go func() {
		for ctx.Err() == nil && !etcdHealthy(ctx) {
			time.Sleep(50 * time.Millisecond)
		}
		close(healthy)
	}()
	var failure error
	for failure == nil {
		select {
		case <-ctx.Done():
			log.Print("level=info msg=\"Shutting down\"")
			notify("STOPPING=1")
			stopChildren(s, running)
			return nil
		case <-healthy:
			healthy = nil
			if failure = start(apiserver); failure != nil {
				break
			}
			go func() {
				if waitReadyz(ctx) == nil {
					close(ready)
				}
			}()
		case <-ready:
			ready = nil
			log.Print("level=info msg=\"Kube API server is now running\"")
			for _, c := range rest {
				if failure = start(c); failure != nil {
					break
				}
			}
			go func() {
				log.Print("level=info msg=\"k3s is up and running\"")
				notify("READY=1")
				runKubelet(ctx, cfg, true)
			}()
			go runAttacher(ctx, cfg)
		case e := <-s.exits:
			delete(running, e.pid)
			if e.vital {
				failure = fmt.Errorf("%s exited: %v", e.name, e.err)
				break
			}
			// k3s would end here; on a loaded lab machine a lost leader
			// election should not take etcd down with it.
			log.Printf("level=warning msg=\"%s exited: %v\"", e.name, e.err)
			time.Sleep(500 * time.Millisecond)
			failure = start(e.child)
		}
	}
	stopChildren(s, running)
	return failure
}

// stopChildren ends the API server and its clients first and etcd last, and
// does not wait for goodbyes: k3s' own parts end with their process.
func stopChildren(s *spawner, running map[int]*exec.Cmd) {
	end := func(which func(name string) bool) {
		left := 0
		for _, cmd := range running {
			if which(cmd.Path) {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				left++
			}
		}
		limit := time.After(700 * time.Millisecond)
		for left > 0 {
			select {
			case e := <-s.exits:
				delete(running, e.pid)
				left--
			case <-limit:
				for _, cmd := range running {
					if which(cmd.Path) {
						_ = cmd.Process.Kill()
					}
				}
				limit = nil
			}
		}
	}
	isEtcd := func(path string) bool { return strings.HasSuffix(path, "/etcd") }
	end(func(path string) bool { return !isEtcd(path) })
	end(isEtcd)
}
