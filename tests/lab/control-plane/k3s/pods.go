package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"log"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

var everything = labels.Everything()

// bootAnnotation remembers in which boot of the node the pod's process was
// started last, so that a restart after a boot is told from a first start.
const bootAnnotation = "lab.hecate/boot-id"

// worker leads one pod through its life, beside all others.
type worker struct {
	k     *kubelet
	mu    sync.Mutex
	pod   *corev1.Pod // the newest one seen
	gone  bool        // the API has no such pod any more
	event chan struct{}
	pid   int
}

func (w *worker) latest() (*corev1.Pod, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod, w.gone
}

func (w *worker) wake() {
	select {
	case w.event <- struct{}{}:
	default:
	}
}

// update hands a pod to its worker, which it gets with its first sight. pid is
// a process to adopt, or 0.
func (k *kubelet) update(ctx context.Context, pod *corev1.Pod, pid int) {
	k.mu.Lock()
	w, ok := k.workers[pod.UID]
	if !ok {
		w = &worker{k: k, event: make(chan struct{}, 1), pid: pid}
		k.workers[pod.UID] = w
	}
	k.mu.Unlock()
	w.mu.Lock()
	w.pod = pod
	w.mu.Unlock()
	if !ok {
		go w.run(ctx)
	}
	w.wake()
}

func (k *kubelet) gone(pod *corev1.Pod) {
	k.mu.Lock()
	w := k.workers[pod.UID]
	k.mu.Unlock()
	if w != nil {
		w.mu.Lock()
		w.gone = true
		w.mu.Unlock()
		w.wake()
	}
}

func (w *worker) run(ctx context.Context) {
	pod, _ := w.latest()
	defer func() {
		w.k.mu.Lock()
		delete(w.k.workers, pod.UID)
		w.k.mu.Unlock()
	}()
	for ctx.Err() == nil {
		pod, gone := w.latest()
		switch {
		case gone || pod.DeletionTimestamp != nil:
			if w.end(ctx, pod) {
				return
			}
		case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		default:
			if err := w.sync(ctx, pod); err != nil && ctx.Err() == nil {
				if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
					log.Printf("level=warning msg=%q", fmt.Sprintf("pod %s/%s: %v", pod.Namespace, pod.Name, err))
				}
				pause(ctx, 300*time.Millisecond)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-w.event:
		case <-time.After(time.Second):
		}
	}
}

// sync makes the pod run and says so.
func (w *worker) sync(ctx context.Context, pod *corev1.Pod) error {
	if ready, err := w.k.volumesReady(pod); err != nil || !ready {
		return err
	}
	if !alive(w.pid) {
		pid, err := startProcess(pod)
		if err != nil {
			return err
		}
		if w.pid != 0 || pod.Status.Phase == corev1.PodRunning {
			log.Printf("level=info msg=\"pod %s/%s started again, process %d\"", pod.Namespace, pod.Name, pid)
		}
		w.pid = pid
	}
	// The container's id tells this process of this boot from every other.
	id := fmt.Sprintf("containerd://%s-%d", bootID(), w.pid)
	if len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].ContainerID == id && podReady(pod) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	copied := pod.DeepCopy()
	copied.Status = runningStatus(w.k.cfg.NodeIP, pod, id)
	_, err := w.k.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, copied, metav1.UpdateOptions{})
	return err
}

func podReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func runningStatus(hostIP string, pod *corev1.Pod, id string) corev1.PodStatus {
	now := metav1.Now()
	s := *pod.Status.DeepCopy()
	s.Phase, s.Reason, s.Message = corev1.PodRunning, "", ""
	s.HostIP, s.HostIPs = hostIP, []corev1.HostIP{{IP: hostIP}}
	if s.PodIP == "" {
		h := fnv.New32a()
		h.Write([]byte(pod.UID))
		n := h.Sum32()
		s.PodIP = fmt.Sprintf("10.42.%d.%d", n>>8&0xff, n&0xff)
		if pod.Spec.HostNetwork {
			s.PodIP = hostIP
		}
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	}
	if s.StartTime == nil {
		s.StartTime = &now
	}
	set := func(t corev1.PodConditionType, fresh bool) {
		s.Conditions = slices.DeleteFunc(s.Conditions, func(c corev1.PodCondition) bool {
			if c.Type == t && c.Status == corev1.ConditionTrue && !fresh {
				now = c.LastTransitionTime
			}
			return c.Type == t
		})
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: now})
		now = metav1.Now()
	}
	set(corev1.PodReadyToStartContainers, true)
	set(corev1.PodInitialized, false)
	set(corev1.ContainersReady, true)
	set(corev1.PodReady, true)
	old := map[string]corev1.ContainerStatus{}
	for _, c := range s.ContainerStatuses {
		old[c.Name] = c
	}
	s.ContainerStatuses = nil
	for _, c := range pod.Spec.Containers {
		status := corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, ImageID: c.Image, ContainerID: id, Ready: true, Started: ptr.To(true),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		}
		if o, ok := old[c.Name]; ok && o.ContainerID != "" {
			status.RestartCount = o.RestartCount + 1
			status.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
				ExitCode: 255, Reason: "Unknown", ContainerID: o.ContainerID, FinishedAt: now,
			}
		}
		s.ContainerStatuses = append(s.ContainerStatuses, status)
	}
	return s
}

// end stops the process within the pod's grace, gives its volumes back and
// removes the object. True: nothing is left to do.
func (w *worker) end(ctx context.Context, pod *corev1.Pod) bool {
	deadline := time.Now().Add(30 * time.Second)
	if pod.DeletionTimestamp != nil {
		deadline = pod.DeletionTimestamp.Time
	} else if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		deadline = time.Now().Add(time.Duration(*s) * time.Second)
	}
	if _, gone := w.latest(); gone && pod.DeletionTimestamp == nil {
		// Removed by force: as kubelets do, end the process all the same.
		deadline = time.Now().Add(2 * time.Second)
	}
	if !w.stop(ctx, deadline) {
		return false
	}
	if err := w.k.releaseVolumes(ctx, pod); err != nil {
		return false
	}
	for ctx.Err() == nil {
		if _, gone := w.latest(); gone {
			return true
		}
		c, cancel := context.WithTimeout(ctx, apiTimeout)
		err := w.k.client.CoreV1().Pods(pod.Namespace).Delete(c, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: ptr.To(int64(0)), Preconditions: &metav1.Preconditions{UID: &pod.UID},
		})
		cancel()
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			// With a finalizer on it the object stays; it is nobody's process now.
			return true
		}
		log.Printf("level=warning msg=%q", fmt.Sprintf("deleting pod %s/%s: %v", pod.Namespace, pod.Name, err))
		pause(ctx, 300*time.Millisecond)
	}
	return false
}

// stop ends the process; a deadline brought forward meanwhile (a second delete
// with a shorter grace) counts.
func (w *worker) stop(ctx context.Context, deadline time.Time) bool {
	if !alive(w.pid) {
		return true
	}
	c, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan bool, 1)
	go func() { done <- endProcess(c, w.pid, deadline) }()
	for {
		select {
		case ok := <-done:
			return ok
		case <-w.event:
			pod, _ := w.latest()
			if t := pod.DeletionTimestamp; t != nil && t.Time.Before(deadline) {
				cancel()
				<-done
				c, cancel = context.WithCancel(ctx)
				defer cancel()
				deadline = t.Time
				go func() { done <- endProcess(c, w.pid, deadline) }()
			}
		}
	}
}

// mirror keeps the static pod's mirror in the API where the node has a
// manifest for one, and puts it back when it is deleted or evicted.
func (k *kubelet) mirror(ctx context.Context) {
	manifest := agentDir + "/pod-manifests/lab-static.yaml"
	for ; ctx.Err() == nil; pause(ctx, time.Second) {
		if _, err := os.Stat(manifest); err != nil {
			continue
		}
		name := "lab-static-" + k.cfg.NodeName
		if _, err := k.pods.Pods(metav1.NamespaceSystem).Get(name); err == nil {
			continue
		}
		c, cancel := context.WithTimeout(ctx, apiTimeout)
		node, err := k.client.CoreV1().Nodes().Get(c, k.cfg.NodeName, metav1.GetOptions{})
		if err == nil {
			_, err = k.client.CoreV1().Pods(metav1.NamespaceSystem).Create(c, mirrorPod(name, node), metav1.CreateOptions{})
		}
		cancel()
		if err != nil && !apierrors.IsAlreadyExists(err) {
			log.Printf("level=warning msg=%q", "mirror pod: "+err.Error())
		}
	}
}

func mirrorPod(name string, node *corev1.Node) *corev1.Pod {
	hash := strconv.FormatInt(int64(len(name)), 16)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: metav1.NamespaceSystem,
			Annotations: map[string]string{
				corev1.MirrorPodAnnotationKey: hash, "kubernetes.io/config.hash": hash, "kubernetes.io/config.source": "file",
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Node", Name: node.Name, UID: types.UID(node.UID), Controller: ptr.To(true),
			}},
		},
		Spec: corev1.PodSpec{
			NodeName: node.Name, HostNetwork: true,
			PriorityClassName:             "system-node-critical",
			Containers:                    []corev1.Container{{Name: "static", Image: "lab/static"}},
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			TerminationGracePeriodSeconds: ptr.To(int64(5)),
		},
	}
}
