package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// nodeGroup marks the kubelet stand-ins, so that the audit policy can leave
// their heartbeats out.
const nodeGroup = "lab:nodes"

type pair struct {
	cert []byte // PEM
	key  []byte // PEM
	x509 *x509.Certificate
	priv crypto.Signer
}

func newPair(cn, org string, ca *pair, hosts []string) (*pair, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: cn},
		// A node's clock may be made to lie: be valid on both sides.
		NotBefore:   time.Now().AddDate(-2, 0, 0),
		NotAfter:    time.Now().AddDate(10, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if org != "" {
		t.Subject.Organization = strings.Split(org, ",")
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	parent, signer := t, crypto.Signer(priv)
	if ca == nil {
		t.IsCA, t.BasicConstraintsValid = true, true
		t.KeyUsage |= x509.KeyUsageCertSign
		t.ExtKeyUsage = nil
	} else {
		parent, signer = ca.x509, ca.priv
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, priv.Public(), signer)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(priv)
	if err != nil {
		return nil, err
	}
	return &pair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
		x509: parsed, priv: priv,
	}, nil
}

func writeAll(files map[string][]byte) error {
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(name, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func kubeconfigText(server string, ca, client *pair) []byte {
	b := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: default
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: default
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: default
  context:
    cluster: default
    user: default
current-context: default
`, server, b(ca.cert), b(client.cert), b(client.key))
}

// makePKI writes every certificate, key and kubeconfig of one lab:
//
//	k3s lab-pki DIR --servers cp-1=ADDR,... --nodes NAME,... --users NAME,...
//
// DIR/server/<name> and DIR/agent/<name> are root folders for a node's disk;
// DIR/<user>.kubeconfig is for clients outside of the nodes.
func makePKI(args []string) error {
	if len(args) != 7 || args[1] != "--servers" || args[3] != "--nodes" || args[5] != "--users" {
		return fmt.Errorf("usage: k3s lab-pki DIR --servers NAME=ADDR,... --nodes NAME,... --users NAME,...")
	}
	dir, nodes, users := args[0], strings.Split(args[4], ","), strings.Split(args[6], ",")
	cfg := &config{LabMembers: strings.Split(args[2], ",")}
	names, addresses := cfg.members()

	hosts := append([]string{"127.0.0.1", "::1", "10.43.0.1", "localhost", "kubernetes", "kubernetes.default",
		"kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}, append(names, addresses...)...)
	var err error
	must := func(p *pair, e error) *pair {
		if e != nil && err == nil {
			err = e
		}
		return p
	}
	// k3s has separate authorities for servers, clients and etcd, and so has the lab.
	serverCA := must(newPair("k3s-server-ca", "", nil, nil))
	clientCA := must(newPair("k3s-client-ca", "", nil, nil))
	etcdCA := must(newPair("etcd-server-ca", "", nil, nil))
	if err != nil {
		return err
	}
	serving := must(newPair("k3s", "k3s", serverCA, hosts))
	etcd := must(newPair("etcd-server", "k3s", etcdCA, hosts))
	etcdClient := must(newPair("etcd-client", "k3s", etcdCA, nil))
	admin := must(newPair("system:admin", "system:masters", clientCA, nil))
	cm := must(newPair("system:kube-controller-manager", "system:masters", clientCA, nil))
	scheduler := must(newPair("system:kube-scheduler", "system:masters", clientCA, nil))
	kubelet := must(newPair("kube-apiserver", "system:masters", clientCA, nil))
	sa := must(newPair("service-account", "", nil, nil))
	if err != nil {
		return err
	}
	const local = "https://127.0.0.1:6443"
	files := map[string][]byte{}
	for _, name := range names {
		root := filepath.Join(dir, "node", name)
		tls := filepath.Join(root, tlsDir)
		for file, text := range map[string][]byte{
			"server-ca.crt": serverCA.cert, "client-ca.crt": clientCA.cert,
			"serving-kube-apiserver.crt": serving.cert, "serving-kube-apiserver.key": serving.key,
			"client-kube-apiserver.crt": kubelet.cert, "client-kube-apiserver.key": kubelet.key,
			"service.key":        sa.key,
			"etcd/server-ca.crt": etcdCA.cert, "etcd/peer-ca.crt": etcdCA.cert,
			"etcd/server-client.crt": etcd.cert, "etcd/server-client.key": etcd.key,
			"etcd/peer-server-client.crt": etcd.cert, "etcd/peer-server-client.key": etcd.key,
			"etcd/client.crt": etcdClient.cert, "etcd/client.key": etcdClient.key,
		} {
			files[filepath.Join(tls, file)] = text
		}
		cred := filepath.Join(root, dataDir, "server/cred")
		files[filepath.Join(cred, "controller.kubeconfig")] = kubeconfigText(local, serverCA, cm)
		files[filepath.Join(cred, "scheduler.kubeconfig")] = kubeconfigText(local, serverCA, scheduler)
		files[filepath.Join(root, kubeconfig)] = kubeconfigText(local, serverCA, admin)
	}
	for _, name := range nodes {
		node := must(newPair("system:node:"+name, "system:masters,"+nodeGroup, clientCA, nil))
		if err != nil {
			return err
		}
		files[filepath.Join(dir, "node", name, agentDir, "kubelet.kubeconfig")] = kubeconfigText(local, serverCA, node)
	}
	for _, name := range users {
		user := must(newPair(name, "system:masters", clientCA, nil))
		if err != nil {
			return err
		}
		files[filepath.Join(dir, name+".kubeconfig")] = kubeconfigText("https://"+addresses[0]+":6443", serverCA, user)
	}
	return writeAll(files)
}
