package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// newClient makes a client that talks to any living server of addresses, and
// stays with the one that answered last, as the agent's load balancer does.
func newClient(kubeconfig string, addresses []string) (*kubernetes.Clientset, error) {
	// A server that lost its power says nothing: notice within seconds.
	os.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "4")
	os.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "3")
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.QPS, cfg.Burst = 100, 200
	cfg.UserAgent = "k3s/" + version
	cfg.Timeout = 0
	var current atomic.Int64
	cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		var last error
		first := current.Load()
		for i := range addresses {
			at := (first + int64(i)) % int64(len(addresses))
			d := net.Dialer{Timeout: time.Second}
			conn, err := d.DialContext(ctx, network, addresses[at]+":6443")
			if err == nil {
				current.Store(at)
				return conn, nil
			}
			last = err
		}
		return nil, fmt.Errorf("no server answers: %w", last)
	}
	return kubernetes.NewForConfig(rest.AddUserAgent(cfg, "kubelet"))
}

// waitReadyz returns once this server's own API server says that it is ready.
func waitReadyz(ctx context.Context) error {
	client, err := newClient(kubeconfig, []string{"127.0.0.1"})
	if err != nil {
		return err
	}
	for {
		c, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(c)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
