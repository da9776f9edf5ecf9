// SPDX-License-Identifier: Apache-2.0
//
// The twin of overhead.c.
package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"sort"
	"sync"
	"syscall"
	"time"
)

const checkEvery = 64

var overheadSink []byte

func overheadPingpong(end time.Time) int {
	there, back := make(chan int), make(chan int)
	go func() {
		for v := range there {
			back <- v
		}
	}()
	n := 0
	for time.Now().Before(end) {
		for i := 0; i < checkEvery; i++ {
			there <- n
			<-back
			n++
		}
	}
	close(there)
	return n
}

func overheadSpawn(end time.Time) int {
	var wg sync.WaitGroup
	n := 0
	for time.Now().Before(end) {
		wg.Add(checkEvery)
		for i := 0; i < checkEvery; i++ {
			go wg.Done()
		}
		wg.Wait()
		n += checkEvery
	}
	return n
}

func overheadContend(end time.Time) int {
	var wg sync.WaitGroup
	var mutex sync.Mutex
	n := 0
	for time.Now().Before(end) {
		wg.Add(checkEvery)
		for i := 0; i < checkEvery; i++ {
			go func() {
				mutex.Lock()
				runtime.Gosched()
				mutex.Unlock()
				wg.Done()
			}()
		}
		wg.Wait()
		n += checkEvery
	}
	return n
}

func overheadMalloc(end time.Time) int {
	n := 0
	for time.Now().Before(end) {
		for i := 0; i < checkEvery; i++ {
			overheadSink = make([]byte, 64+n%16*64)
			n++
		}
	}
	return n
}

func cpuNow() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano() + u.Stime.Nano())
}

func measureWork(run func(time.Time) int, length time.Duration) float64 {
	start := cpuNow()
	n := run(time.Now().Add(length))
	return (cpuNow() - start) / float64(n)
}

func withCPU(on bool) {
	if on {
		pprof.StartCPUProfile(io.Discard)
	} else {
		pprof.StopCPUProfile()
	}
}

func withTrace(on bool) {
	if on {
		trace.Start(io.Discard)
	} else {
		trace.Stop()
	}
}

func overhead(ms int) {
	runtime.MemProfileRate = 0
	rate := func(set func(int), value int) func(bool) {
		return func(on bool) {
			if on {
				set(value)
			} else {
				set(0)
			}
		}
	}
	works := []struct {
		name string
		run  func(time.Time) int
	}{{"pingpong", overheadPingpong}, {"spawn", overheadSpawn}, {"contend", overheadContend},
		{"malloc", overheadMalloc}}
	profiles := []struct {
		name string
		turn func(bool)
	}{
		{"none", func(bool) {}},
		{"cpu_100", withCPU},
		{"block", rate(runtime.SetBlockProfileRate, 10000)},
		{"mutex", rate(func(n int) { runtime.SetMutexProfileFraction(n) }, 1)},
		{"trace", withTrace},
		{"heap", rate(func(n int) { runtime.MemProfileRate = n }, 512<<10)},
	}
	length := time.Duration(ms) * time.Millisecond
	const rounds = 5
	for _, w := range works {
		for _, p := range profiles {
			var without, with []float64
			for i := 0; i < rounds; i++ {
				without = append(without, measureWork(w.run, length))
				p.turn(true)
				with = append(with, measureWork(w.run, length))
				p.turn(false)
			}
			sort.Float64s(without)
			sort.Float64s(with)
			a, b := without[rounds/2], with[rounds/2]
			fmt.Printf("overhead.%s.%s\t%.2f\t%.2f\t%.3f\n", w.name, p.name, a, b, b/a)
		}
	}
}
