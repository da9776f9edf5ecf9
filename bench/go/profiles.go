// SPDX-License-Identifier: Apache-2.0
//
// The twin of goroutine_million.c.
package main

import (
	"io"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const profileRounds = 3

var longest atomic.Int64
var measuring, over atomic.Bool

func fromStatus(key string) float64 {
	text, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, key+":") {
			kib, _ := strconv.ParseFloat(strings.Fields(line)[1], 64)
			return kib * 1024
		}
	}
	return 0
}

func runOn() {
	last := time.Now()
	for !over.Load() {
		now := time.Now()
		if gap := int64(now.Sub(last)); measuring.Load() && gap > longest.Load() {
			longest.Store(gap)
		}
		last = now
	}
}

func goroutineMillion(count int) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go http.Serve(listener, nil)
	var started sync.WaitGroup
	gate := make(chan struct{})
	started.Add(count)
	for i := 0; i < count; i++ {
		go func() {
			started.Done()
			<-gate
		}()
	}
	started.Wait()
	go runOn()
	took, pause, bytes := time.Hour, int64(0), int64(0)
	rss := fromStatus("VmRSS")
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	for i := 0; i < profileRounds; i++ {
		longest.Store(0)
		measuring.Store(true)
		start := time.Now()
		answer, err := http.Get("http://" + listener.Addr().String() + "/debug/pprof/goroutine")
		if err != nil {
			panic(err)
		}
		bytes, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		took = min(took, time.Since(start))
		measuring.Store(false)
		pause = max(pause, longest.Load())
	}
	result("goroutine_million.profile", float64(took), "ns")
	result("goroutine_million.pause", float64(pause), "ns")
	result("goroutine_million.memory", fromStatus("VmHWM")-rss, "bytes")
	result("goroutine_million.answer", float64(bytes), "bytes")
	over.Store(true)
	close(gate)
}
