// Command containerd-shim-runc-v2 is what a pod looks like from outside in the
// lab: one real process that outlives the k3s unit, is found by its argument
// list as k3s' own shims are, and takes a chosen time to end after SIGTERM.
package main

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	stop := time.Duration(0)
	never := false
	for i, arg := range os.Args {
		if arg != "-stop-seconds" || i+1 >= len(os.Args) {
			continue
		}
		if os.Args[i+1] == "never" {
			never = true
		} else if s, err := strconv.ParseFloat(os.Args[i+1], 64); err == nil && s > 0 {
			stop = time.Duration(s * float64(time.Second))
		}
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT)
	for range term {
		if never {
			continue
		}
		time.Sleep(stop)
		return
	}
}
