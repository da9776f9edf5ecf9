// SPDX-License-Identifier: Apache-2.0

// Command peer is the Go twin of the programs in bench/: the same work, the same lines.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func result(name string, value float64, unit string) {
	fmt.Printf("%s\t%.2f\t%s\n", name, value, unit)
}

func nsEach(since time.Time, count int) float64 {
	return float64(time.Since(since).Nanoseconds()) / float64(count)
}

func yield(yields int) {
	var wg sync.WaitGroup
	start := time.Now()
	for i := 0; i < 2*runtime.GOMAXPROCS(0); i++ {
		wg.Add(1)
		go func() {
			for j := 0; j < yields; j++ {
				runtime.Gosched()
			}
			wg.Done()
		}()
	}
	wg.Wait()
	result("yield", nsEach(start, yields*2), "ns")
}

func spawn(spawns int) {
	const batch = 100
	var wg sync.WaitGroup
	start := time.Now()
	for i := 0; i < spawns; i += batch {
		wg.Add(batch)
		for j := 0; j < batch; j++ {
			go wg.Done()
		}
		wg.Wait()
	}
	result("spawn", nsEach(start, spawns), "ns")
}

func pingpong(trips int) {
	there, back := make(chan int64), make(chan int64)
	go func() {
		for v := range there {
			back <- v
		}
	}()
	start := time.Now()
	for i := 0; i < trips; i++ {
		there <- int64(i)
		<-back
	}
	result("pingpong", nsEach(start, trips), "ns")
}

func chanBuffered(messages int) {
	buffered := make(chan int64, 128)
	go func() {
		for i := 0; i < messages; i++ {
			buffered <- int64(i)
		}
		close(buffered)
	}()
	start := time.Now()
	for range buffered {
	}
	result("chan_buffered", nsEach(start, messages), "ns")
}

func chanContended(messages int) {
	const sides = 8
	var producers, consumers sync.WaitGroup
	busy := make(chan int64, 16)
	start := time.Now()
	for i := 0; i < sides; i++ {
		producers.Add(1)
		consumers.Add(1)
		go func() {
			for j := 0; j < messages/sides; j++ {
				busy <- int64(j)
			}
			producers.Done()
		}()
		go func() {
			for range busy {
			}
			consumers.Done()
		}()
	}
	producers.Wait()
	close(busy)
	consumers.Wait()
	result("chan_contended", nsEach(start, messages), "ns")
}

func mutex(pairs int) {
	var mu sync.Mutex
	guarded := 0
	start := time.Now()
	for i := 0; i < pairs; i++ {
		mu.Lock()
		guarded++
		mu.Unlock()
	}
	result("mutex", nsEach(start, pairs), "ns")
	if guarded != pairs {
		os.Exit(1)
	}
}

func compute(x uint64) uint64 {
	for i := 0; i < 10; i++ {
		x = x*6364136223846793005 + 1442695040888963407
	}
	return x
}

func mutexContended(pairs int) {
	const workers = 8
	var mu sync.Mutex
	var wg sync.WaitGroup
	var shared uint64
	guarded := 0
	start := time.Now()
	for i := 0; i < workers; i++ {
		wg.Add(1)
		go func(own uint64) {
			for j := 0; j < pairs/workers; j++ {
				mu.Lock()
				guarded++
				shared = compute(shared)
				mu.Unlock()
				own = compute(own)
			}
			atomic.AddUint64(&shared, own)
			wg.Done()
		}(uint64(i))
	}
	wg.Wait()
	result("mutex_contended", nsEach(start, pairs), "ns")
	if guarded != pairs/workers*workers {
		os.Exit(1)
	}
}

func selects(messages int) {
	var from [3]chan int64
	for i := range from {
		from[i] = make(chan int64)
		go func(c chan int64) {
			for i := int64(0); ; i++ {
				c <- i
			}
		}(from[i])
	}
	start := time.Now()
	for i := 0; i < messages; i++ {
		select {
		case <-from[0]:
		case <-from[1]:
		case <-from[2]:
		}
	}
	result("select", nsEach(start, messages), "ns")
}

func cpuNs() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano() + u.Stime.Nano())
}

func sleepMany(sleepers int) {
	const sleeps = 10
	var wg sync.WaitGroup
	before := cpuNs()
	for i := 0; i < sleepers; i++ {
		wg.Add(1)
		go func(i int) {
			for j := 0; j < sleeps; j++ {
				time.Sleep(time.Millisecond + time.Duration((i*7919+j*104729)%19000000))
			}
			wg.Done()
		}(i)
	}
	wg.Wait()
	result("sleep_many", (cpuNs()-before)/float64(sleepers*sleeps), "ns")
}

func stealLatency(rounds int) {
	if runtime.GOMAXPROCS(0) < 2 {
		return
	}
	var waits []float64
	for i := 0; i < rounds; i++ {
		var started int64
		done := make(chan struct{})
		time.Sleep(200 * time.Microsecond)
		spawned := time.Now()
		go func() {
			atomic.StoreInt64(&started, int64(time.Since(spawned)))
			close(done)
		}()
		for atomic.LoadInt64(&started) == 0 && time.Since(spawned) < 5*time.Millisecond {
		}
		<-done
		waits = append(waits, float64(started))
	}
	sort.Float64s(waits)
	result("steal_latency", waits[rounds/2], "ns")
}

func grow(up chan int64, first, leaves int64) {
	sum := first
	if leaves > 1 {
		results := make(chan int64)
		for i := int64(0); i < 10; i++ {
			go grow(results, first+i*(leaves/10), leaves/10)
		}
		sum = 0
		for i := 0; i < 10; i++ {
			sum += <-results
		}
	}
	up <- sum
}

func skynet(leaves int) {
	up := make(chan int64)
	start := time.Now()
	go grow(up, 0, int64(leaves))
	sum := <-up
	result("skynet", nsEach(start, leaves), "ns")
	if sum != int64(leaves)*int64(leaves-1)/2 {
		os.Exit(1)
	}
}

// The package of that name is in use here.
func announcedCall(calls int) {
	start := time.Now()
	for i := 0; i < calls; i++ {
		syscall.Syscall(syscall.SYS_GETPPID, 0, 0, 0)
	}
	result("syscall", nsEach(start, calls), "ns")
}

func parkMillion(count int) {
	var started, ended sync.WaitGroup
	gate := make(chan struct{})
	start := time.Now()
	started.Add(count)
	ended.Add(count)
	for i := 0; i < count; i++ {
		go func() {
			started.Done()
			<-gate
			ended.Done()
		}()
	}
	started.Wait()
	result("park_million.start", nsEach(start, count), "ns")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	result("park_million.resident", float64(m.Sys)/float64(count), "bytes")
	start = time.Now()
	close(gate)
	ended.Wait()
	result("park_million.end", nsEach(start, count), "ns")
}

func main() {
	count := 0
	if len(os.Args) > 2 {
		count, _ = strconv.Atoi(os.Args[2])
	}
	or := func(otherwise int) int {
		if count > 0 {
			return count
		}
		return otherwise
	}
	switch os.Args[1] {
	case "yield":
		yield(or(3000000))
	case "spawn":
		spawn(or(2000000))
	case "pingpong":
		pingpong(or(2000000))
	case "chan_buffered":
		chanBuffered(or(5000000))
	case "chan_contended":
		chanContended(or(2000000))
	case "mutex":
		mutex(or(20000000))
	case "mutex_contended":
		mutexContended(or(4000000))
	case "select":
		selects(or(2000000))
	case "skynet":
		skynet(or(1000000))
	case "sleep_many":
		sleepMany(or(100000))
	case "steal_latency":
		stealLatency(or(2000))
	case "netpoll_echo":
		netpollEcho(or(200000))
	case "syscall":
		announcedCall(or(5000000))
	case "goroutine_million":
		goroutineMillion(or(1000000))
	case "overhead":
		overhead(or(300))
	case "park_million":
		parkMillion(or(1000000))
	default:
		fmt.Fprintln(os.Stderr, "peer: no such benchmark:", os.Args[1])
		os.Exit(2)
	}
}
