package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

type snapshot struct {
	name, location string
	size           int64
	created        time.Time
}

// runSnapshot is `k3s etcd-snapshot save|ls|delete`.
func runSnapshot(args []string) error {
	cfg, err := loadConfig()
	if err != nil {
		return err
	}
	var names []string
	verb, output, dir, name := "", "table", cfg.EtcdSnapshotDir, cfg.EtcdSnapshotName
	for i := 0; i < len(args); i++ {
		flag, value, inline := strings.Cut(args[i], "=")
		if !strings.HasPrefix(flag, "-") {
			if verb == "" {
				verb = args[i]
			} else {
				names = append(names, args[i])
			}
			continue
		}
		if !inline {
			if i++; i >= len(args) {
				return fmt.Errorf("flag needs an argument: %s", flag)
			}
			value = args[i]
		}
		switch "-" + strings.TrimLeft(flag, "-") {
		case "-name":
			name = value
		case "-o", "-output":
			output = value
		case "-dir", "-etcd-snapshot-dir":
			dir = value
		case "-etcd-s3", "-s3", "-data-dir", "-d", "-snapshot-compress", "-etcd-snapshot-compress", "-node-name":
		default:
			return fmt.Errorf("flag provided but not defined: %s", flag)
		}
	}
	switch verb {
	case "", "save":
		return saveSnapshot(cfg, dir, name)
	case "ls", "list", "l":
		return listSnapshots(cfg, dir, output)
	case "delete":
		if len(names) == 0 {
			return errors.New("no snapshots given for removal")
		}
		for _, n := range names {
			if n != filepath.Base(n) {
				return fmt.Errorf("invalid snapshot name %q", n)
			}
			if err := os.Remove(filepath.Join(dir, n)); err != nil {
				return err
			}
			log.Printf("level=info msg=\"Snapshot %s deleted.\"", n)
		}
		return nil
	}
	return fmt.Errorf("unknown command %q", verb)
}

func etcdClient() (*clientv3.Client, error) {
	pair, err := tls.LoadX509KeyPair(tlsDir+"/etcd/client.crt", tlsDir+"/etcd/client.key")
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(tlsDir + "/etcd/server-ca.crt")
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return clientv3.New(clientv3.Config{
		Endpoints:   []string{"https://127.0.0.1:2379"},
		DialTimeout: 5 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithBlock()}, //nolint:staticcheck // fail at once, not at the first call
		TLS:         &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		Logger:      zap.NewNop(),
	})
}

func saveSnapshot(cfg *config, dir, name string) error {
	client, err := etcdClient()
	if err != nil {
		return fmt.Errorf("failed to connect to etcd: %w", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	full := fmt.Sprintf("%s-%s-%d", name, cfg.NodeName, time.Now().Unix())
	path := filepath.Join(dir, full)
	stream, err := client.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	file, err := os.OpenFile(path+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(path + ".part")
	defer file.Close()
	if _, err := io.Copy(file, stream); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(path+".part", path); err != nil {
		return err
	}
	log.Printf("level=info msg=\"Snapshot %s saved.\"", full)
	return nil
}

func readSnapshots(dir string) ([]snapshot, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var all []snapshot
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || strings.HasSuffix(e.Name(), ".part") {
			continue
		}
		created := info.ModTime()
		if at, err := strconv.ParseInt(e.Name()[strings.LastIndex(e.Name(), "-")+1:], 10, 64); err == nil {
			created = time.Unix(at, 0)
		}
		all = append(all, snapshot{e.Name(), "file://" + filepath.Join(dir, e.Name()), info.Size(), created.UTC()})
	}
	return all, nil
}

func listSnapshots(cfg *config, dir, output string) error {
	all, err := readSnapshots(dir)
	if err != nil {
		return err
	}
	if output == "json" {
		type m = map[string]any
		items := []m{}
		for _, s := range all {
			at := s.created.Format(time.RFC3339)
			items = append(items, m{
				"metadata": m{"name": s.name, "creationTimestamp": at},
				"spec":     m{"snapshotName": s.name, "nodeName": cfg.NodeName, "location": s.location},
				"status":   m{"size": strconv.FormatInt(s.size, 10), "creationTime": at, "readyToUse": true},
			})
		}
		return json.NewEncoder(os.Stdout).Encode(m{
			"kind": "ETCDSnapshotFileList", "apiVersion": "k3s.cattle.io/v1", "metadata": m{}, "items": items,
		})
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprint(w, "Name\tLocation\tSize\tCreated\n")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", s.name, s.location, s.size, s.created.Format(time.RFC3339))
	}
	return w.Flush()
}
