package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	leaseEvery  = 2 * time.Second
	statusEvery = time.Minute
	// apiTimeout bounds every request: a server that lost its power must not
	// hold up a pod's end.
	apiTimeout = 4 * time.Second

	stopSecondsAnnotation = "lab.hecate/stop-seconds"
	csiDriver             = "csi.lab.hecate"
)

func runAgent([]string) error {
	cfg, err := loadConfig()
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	log.Printf("level=info msg=\"Starting k3s agent %s\"", version)
	runKubelet(ctx, cfg, false)
	notify("STOPPING=1")
	return nil
}

type kubelet struct {
	client *kubernetes.Clientset
	cfg    *config
	server bool

	pods    listers.PodLister
	volumes listers.PersistentVolumeLister
	claims  listers.PersistentVolumeClaimLister

	mu      sync.Mutex
	workers map[types.UID]*worker
	// inUse counts the pods that need each attachable volume.
	inUse map[corev1.UniqueVolumeName]map[types.UID]bool
	// attached is what the attach-detach controller wrote to the Node last.
	attached map[corev1.UniqueVolumeName]bool
	// statusWanted asks for a status now.
	statusWanted chan struct{}
}

// runKubelet is the node's agent until ctx ends. Pods go on running after it,
// as containers do under k3s.
func runKubelet(ctx context.Context, cfg *config, server bool) {
	addresses := []string{"127.0.0.1"}
	if !server {
		_, addresses = cfg.members()
	}
	client, err := newClient(agentDir+"/kubelet.kubeconfig", addresses)
	if err != nil {
		log.Fatalf("level=fatal msg=%q", err.Error())
	}
	k := &kubelet{
		client: client, cfg: cfg, server: server,
		workers:      map[types.UID]*worker{},
		inUse:        map[corev1.UniqueVolumeName]map[types.UID]bool{},
		attached:     map[corev1.UniqueVolumeName]bool{},
		statusWanted: make(chan struct{}, 1),
	}
	for ctx.Err() == nil {
		if err := k.register(ctx); err != nil {
			log.Printf("level=error msg=%q", "registering the node: "+err.Error())
			pause(ctx, 500*time.Millisecond)
			continue
		}
		break
	}
	if ctx.Err() != nil {
		return
	}
	log.Print("level=info msg=\"Node registered\"")
	go k.heartbeat(ctx)
	go k.postStatus(ctx)
	if !server {
		notify("READY=1")
	}
	k.watchPods(ctx)
	<-ctx.Done()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func readLine(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}

func (k *kubelet) labels() map[string]string {
	l := map[string]string{
		corev1.LabelHostname: k.cfg.NodeName, corev1.LabelOSStable: "linux", corev1.LabelArchStable: runtime.GOARCH,
		"node.kubernetes.io/instance-type": "k3s",
	}
	if k.server {
		l["node-role.kubernetes.io/control-plane"] = "true"
		l["node-role.kubernetes.io/etcd"] = "true"
	}
	for _, label := range k.cfg.NodeLabel {
		key, value, _ := strings.Cut(label, "=")
		l[key] = value
	}
	return l
}

func (k *kubelet) status(old []corev1.NodeCondition) corev1.NodeStatus {
	now := metav1.Now()
	resources := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("8Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("50Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	condition := func(t corev1.NodeConditionType, s corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		c := corev1.NodeCondition{Type: t, Status: s, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now}
		for _, o := range old {
			if o.Type == t && o.Status == s {
				c.LastTransitionTime = o.LastTransitionTime
			}
		}
		return c
	}
	k.mu.Lock()
	inUse := slices.Sorted(maps.Keys(k.inUse))
	k.mu.Unlock()
	return corev1.NodeStatus{
		Capacity: resources, Allocatable: resources,
		Conditions: []corev1.NodeCondition{
			condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
			condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
			condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
			condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"),
		},
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: k.cfg.NodeIP}, {Type: corev1.NodeHostName, Address: k.cfg.NodeName},
		},
		NodeInfo: corev1.NodeSystemInfo{
			MachineID: readLine("/etc/machine-id"), SystemUUID: readLine("/etc/machine-id"),
			BootID: bootID(), KernelVersion: readLine("/proc/sys/kernel/osrelease"),
			OSImage: "Debian GNU/Linux 12 (bookworm)", OperatingSystem: "linux", Architecture: runtime.GOARCH,
			ContainerRuntimeVersion: "containerd://2.1.5-k3s1", KubeletVersion: version, KubeProxyVersion: version,
		},
		VolumesInUse: inUse,
	}
}

func bootID() string { return readLine("/proc/sys/kernel/random/boot_id") }

// register creates the Node or takes over the one that is there, and posts the
// status of this boot.
func (k *kubelet) register(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	nodes := k.client.CoreV1().Nodes()
	node, err := nodes.Get(ctx, k.cfg.NodeName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		node = &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{
				Name: k.cfg.NodeName, Labels: k.labels(),
				Annotations: map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
			},
			Status: k.status(nil),
		}
		if _, err = nodes.Create(ctx, node, metav1.CreateOptions{}); err != nil {
			return err
		}
		return k.renew(ctx)
	}
	if err != nil {
		return err
	}
	if err := k.writeStatus(ctx, node); err != nil {
		return err
	}
	return k.renew(ctx)
}

func (k *kubelet) writeStatus(ctx context.Context, node *corev1.Node) error {
	status := k.status(node.Status.Conditions)
	// volumesAttached belongs to the attach-detach controller.
	status.VolumesAttached = node.Status.VolumesAttached
	copied := node.DeepCopy()
	copied.Status = status
	_, err := k.client.CoreV1().Nodes().UpdateStatus(ctx, copied, metav1.UpdateOptions{})
	return err
}

// postStatus posts the node's status now and then, when a volume comes or
// goes, and again until the server took it.
func (k *kubelet) postStatus(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-k.statusWanted:
		case <-time.After(statusEvery):
		}
		for ctx.Err() == nil {
			err := k.postStatusOnce(ctx)
			if err == nil {
				break
			}
			if !apierrors.IsConflict(err) {
				log.Printf("level=warning msg=%q", "posting the node's status: "+err.Error())
				pause(ctx, time.Second)
			}
		}
	}
}

func (k *kubelet) postStatusOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	node, err := k.client.CoreV1().Nodes().Get(ctx, k.cfg.NodeName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return k.register(ctx)
	}
	if err != nil {
		return err
	}
	return k.writeStatus(ctx, node)
}

func (k *kubelet) askStatus() {
	select {
	case k.statusWanted <- struct{}{}:
	default:
	}
}

func (k *kubelet) heartbeat(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, leaseEvery)
		c, cancel := context.WithTimeout(ctx, apiTimeout)
		if err := k.renew(c); err != nil && ctx.Err() == nil {
			log.Printf("level=warning msg=%q", "renewing the lease: "+err.Error())
		}
		cancel()
	}
}

func (k *kubelet) renew(ctx context.Context) error {
	leases := k.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now, seconds := metav1.NowMicro(), int32(40)
	lease, err := leases.Get(ctx, k.cfg.NodeName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		lease = &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: k.cfg.NodeName},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &k.cfg.NodeName, LeaseDurationSeconds: &seconds, RenewTime: &now},
		}
		_, err = leases.Create(ctx, lease, metav1.CreateOptions{})
		if apierrors.IsNotFound(err) {
			return nil // the namespace comes seconds after the first start
		}
		return err
	}
	if err != nil {
		return err
	}
	lease = lease.DeepCopy()
	lease.Spec.RenewTime, lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = &now, &k.cfg.NodeName, &seconds
	_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	return err
}

func (k *kubelet) watchPods(ctx context.Context) {
	mine := informers.NewSharedInformerFactoryWithOptions(k.client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", k.cfg.NodeName).String()
	}))
	self := informers.NewSharedInformerFactoryWithOptions(k.client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", k.cfg.NodeName).String()
	}))
	all := informers.NewSharedInformerFactory(k.client, 0)
	pods := mine.Core().V1().Pods()
	k.pods = pods.Lister()
	k.volumes, k.claims = all.Core().V1().PersistentVolumes().Lister(), all.Core().V1().PersistentVolumeClaims().Lister()
	_, _ = self.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    k.nodeSeen,
		UpdateFunc: func(_, n any) { k.nodeSeen(n) },
	})
	podInformer := pods.Informer()
	all.Core().V1().PersistentVolumes().Informer()
	all.Core().V1().PersistentVolumeClaims().Informer()
	for _, f := range []informers.SharedInformerFactory{mine, self, all} {
		f.Start(ctx.Done())
		f.WaitForCacheSync(ctx.Done())
	}
	if ctx.Err() != nil {
		return
	}
	// Adopt what runs since before this start; end what the API no longer knows.
	known, _ := k.pods.List(everything)
	processes := findProcesses()
	for _, pod := range known {
		k.update(ctx, pod, processes[pod.UID])
		delete(processes, pod.UID)
	}
	for uid, pid := range processes {
		log.Printf("level=info msg=\"ending process %d of pod %s, which is gone\"", pid, uid)
		go func() { endProcess(ctx, pid, time.Now().Add(30*time.Second)) }()
	}
	_, _ = podInformer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { k.update(ctx, o.(*corev1.Pod), 0) },
		UpdateFunc: func(_, o any) { k.update(ctx, o.(*corev1.Pod), 0) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			k.gone(o.(*corev1.Pod))
		},
	})
	go k.mirror(ctx)
}

func (k *kubelet) nodeSeen(o any) {
	node, ok := o.(*corev1.Node)
	if !ok {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.attached)
	for _, v := range node.Status.VolumesAttached {
		k.attached[v.Name] = true
	}
}

// findProcesses looks for the pods' processes on this node by their arguments.
func findProcesses() map[types.UID]int {
	found := map[types.UID]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range dirs {
		text, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(text), shim+"\x00") {
			continue
		}
		args := strings.Split(string(text), "\x00")
		at := slices.Index(args, "-id")
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/", &pid); err != nil || at < 0 || at+1 >= len(args) {
			continue
		}
		found[types.UID(args[at+1])] = pid
	}
	return found
}

const shim = binDir + "/containerd-shim-runc-v2"

// startProcess starts the pod's one process, in its own session so that it
// outlives the unit.
func startProcess(pod *corev1.Pod) (int, error) {
	stop := pod.Annotations[stopSecondsAnnotation]
	if stop == "" {
		stop = "0"
	}
	cmd := exec.Command(shim, "-namespace", "k8s.io", "-id", string(pod.UID), "-address",
		"/run/k3s/containerd/containerd.sock", "-pod", pod.Namespace+"/"+pod.Name, "-stop-seconds", stop)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "GOMAXPROCS=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go func() { _ = cmd.Wait() }() // reap
	return cmd.Process.Pid, nil
}

func alive(pid int) bool {
	if pid == 0 {
		return false
	}
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	stat := readLine(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(stat, ") ")
	return stat != "" && !strings.HasPrefix(after, "Z")
}

// endProcess sends SIGTERM, and SIGKILL at the deadline. False: not ended,
// because ctx was.
func endProcess(ctx context.Context, pid int, deadline time.Time) bool {
	if !alive(pid) {
		return true
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	for alive(pid) {
		if !time.Now().Before(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if ctx.Err() != nil {
			return false
		}
		pause(ctx, 20*time.Millisecond)
	}
	return true
}
