// SPDX-License-Identifier: Apache-2.0

// Command peer is the Go twin of the programs in bench/: the same work, the same lines.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
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

func pingpong(messages int) {
	there, back := make(chan int64), make(chan int64)
	go func() {
		for v := range there {
			back <- v
		}
	}()
	start := time.Now()
	for i := 0; i < messages; i++ {
		there <- int64(i)
		<-back
	}
	result("unbuffered", nsEach(start, messages), "ns")
	buffered := make(chan int64, 128)
	go func() {
		for i := 0; i < messages; i++ {
			buffered <- int64(i)
		}
		close(buffered)
	}()
	start = time.Now()
	for range buffered {
	}
	result("buffered", nsEach(start, messages), "ns")
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
	result("skynet", float64(time.Since(start).Nanoseconds())/1e6, "ms")
	if sum != int64(leaves)*int64(leaves-1)/2 {
		os.Exit(1)
	}
}

func parkMany(count int) {
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
	result("park_many.start", nsEach(start, count), "ns")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	result("park_many.resident", float64(m.Sys)/float64(count), "bytes")
	start = time.Now()
	close(gate)
	ended.Wait()
	result("park_many.end", nsEach(start, count), "ns")
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
	case "skynet":
		skynet(or(1000000))
	case "park_many":
		parkMany(or(1000000))
	}
}
