package main

import (
	"context"
	"fmt"
	"log"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// podVolumes names the attachable volumes of a pod as the attach-detach
// controller does. An error: a claim is not bound yet.
func (k *kubelet) podVolumes(pod *corev1.Pod) ([]corev1.UniqueVolumeName, error) {
	var names []corev1.UniqueVolumeName
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim == nil {
			continue
		}
		claim, err := k.claims.PersistentVolumeClaims(pod.Namespace).Get(v.PersistentVolumeClaim.ClaimName)
		if err != nil {
			return nil, err
		}
		if claim.Spec.VolumeName == "" {
			return nil, fmt.Errorf("claim %s is not bound", claim.Name)
		}
		volume, err := k.volumes.Get(claim.Spec.VolumeName)
		if err != nil {
			return nil, err
		}
		if csi := volume.Spec.CSI; csi != nil {
			names = append(names, corev1.UniqueVolumeName("kubernetes.io/csi/"+csi.Driver+"^"+csi.VolumeHandle))
		}
	}
	return names, nil
}

// volumesReady says whether all of a pod's volumes are attached, and marks
// them as in use, so that they stay so.
func (k *kubelet) volumesReady(pod *corev1.Pod) (bool, error) {
	names, err := k.podVolumes(pod)
	if err != nil {
		return false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	ready := true
	for _, n := range names {
		if k.inUse[n] == nil {
			k.inUse[n] = map[types.UID]bool{}
			k.askStatus()
		}
		k.inUse[n][pod.UID] = true
		ready = ready && k.attached[n]
	}
	return ready, nil
}

// releaseVolumes takes a pod's volumes back and posts it, so that the
// attach-detach controller detaches them as soon as the pod is gone.
func (k *kubelet) releaseVolumes(ctx context.Context, pod *corev1.Pod) error {
	k.mu.Lock()
	changed := false
	for n, users := range k.inUse {
		if users[pod.UID] {
			delete(users, pod.UID)
			if len(users) == 0 {
				delete(k.inUse, n)
				changed = true
			}
		}
	}
	k.mu.Unlock()
	for changed && ctx.Err() == nil {
		err := k.postStatusOnce(ctx)
		if err == nil {
			break
		}
		if !apierrors.IsConflict(err) {
			log.Printf("level=warning msg=%q", "posting the node's status: "+err.Error())
			pause(ctx, 300*time.Millisecond)
		}
	}
	return ctx.Err()
}

const (
	attacherFinalizer = "external-attacher/csi-lab-hecate"
	// On a PersistentVolume: how long its attach and detach take; "never" too.
	attachSecondsAnnotation = "lab.hecate/attach-seconds"
	detachSecondsAnnotation = "lab.hecate/detach-seconds"
)

// runAttacher stands in for the CSI driver's external-attacher. Every server
// runs one; whoever loses a race finds the work done.
func runAttacher(ctx context.Context, cfg *config) {
	client, err := newClient(agentDir+"/kubelet.kubeconfig", []string{"127.0.0.1"})
	if err != nil {
		log.Printf("level=error msg=%q", "attacher: "+err.Error())
		return
	}
	for ctx.Err() == nil {
		driver := &storagev1.CSIDriver{
			ObjectMeta: metav1.ObjectMeta{Name: csiDriver},
			Spec:       storagev1.CSIDriverSpec{AttachRequired: ptr.To(true), PodInfoOnMount: ptr.To(false)},
		}
		c, cancel := context.WithTimeout(ctx, apiTimeout)
		_, err := client.StorageV1().CSIDrivers().Create(c, driver, metav1.CreateOptions{})
		cancel()
		if err == nil || apierrors.IsAlreadyExists(err) {
			break
		}
		pause(ctx, time.Second)
	}
	f := informers.NewSharedInformerFactory(client, 0)
	attachments := f.Storage().V1().VolumeAttachments().Lister()
	volumes := f.Core().V1().PersistentVolumes().Lister()
	f.Storage().V1().VolumeAttachments().Informer()
	f.Core().V1().PersistentVolumes().Informer()
	f.Start(ctx.Done())
	f.WaitForCacheSync(ctx.Done())
	waited := func(va *storagev1.VolumeAttachment, since time.Time, annotation string) bool {
		if va.Spec.Source.PersistentVolumeName == nil {
			return true
		}
		volume, err := volumes.Get(*va.Spec.Source.PersistentVolumeName)
		if err != nil {
			return true
		}
		text := volume.Annotations[annotation]
		if text == "never" {
			return false
		}
		seconds, _ := strconv.ParseFloat(text, 64)
		return time.Since(since).Seconds() >= seconds
	}
	for ; ctx.Err() == nil; pause(ctx, 200*time.Millisecond) {
		list, _ := attachments.List(everything)
		for _, va := range list {
			if va.Spec.Attacher != csiDriver {
				continue
			}
			ours := slices.Contains(va.Finalizers, attacherFinalizer)
			var err error
			switch {
			case va.DeletionTimestamp != nil && ours && waited(va, va.DeletionTimestamp.Time, detachSecondsAnnotation):
				err = detach(ctx, client, va)
			case va.DeletionTimestamp == nil && !va.Status.Attached && waited(va, va.CreationTimestamp.Time, attachSecondsAnnotation):
				err = attach(ctx, client, va, ours)
			}
			if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
				log.Printf("level=warning msg=%q", "attacher: "+err.Error())
			}
		}
	}
}

func attach(ctx context.Context, client *kubernetes.Clientset, va *storagev1.VolumeAttachment, ours bool) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	va = va.DeepCopy()
	var err error
	if !ours {
		va.Finalizers = append(va.Finalizers, attacherFinalizer)
		if va, err = client.StorageV1().VolumeAttachments().Update(ctx, va, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	va.Status = storagev1.VolumeAttachmentStatus{Attached: true}
	_, err = client.StorageV1().VolumeAttachments().UpdateStatus(ctx, va, metav1.UpdateOptions{})
	return err
}

func detach(ctx context.Context, client *kubernetes.Clientset, va *storagev1.VolumeAttachment) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	va = va.DeepCopy()
	va.Finalizers = slices.DeleteFunc(va.Finalizers, func(f string) bool { return f == attacherFinalizer })
	_, err := client.StorageV1().VolumeAttachments().Update(ctx, va, metav1.UpdateOptions{})
	return err
}
