// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const echoBytes = 64

func echoOne(c net.Conn) {
	buffer := make([]byte, echoBytes)
	for {
		if _, err := io.ReadFull(c, buffer); err != nil {
			break
		}
		if _, err := c.Write(buffer); err != nil {
			break
		}
	}
	c.Close()
}

func measureEcho(name string, address string, connections, trips int) {
	var clients sync.WaitGroup
	each := trips / connections
	start := time.Now()
	for i := 0; i < connections; i++ {
		clients.Add(1)
		go func() {
			defer clients.Done()
			buffer := make([]byte, echoBytes)
			c, err := net.Dial("tcp4", address)
			if err != nil {
				os.Exit(1)
			}
			for j := 0; j < each; j++ {
				if _, err := c.Write(buffer); err != nil {
					os.Exit(1)
				}
				if _, err := io.ReadFull(c, buffer); err != nil {
					os.Exit(1)
				}
			}
			c.Close()
		}()
	}
	clients.Wait()
	result(name, nsEach(start, each*connections), "ns")
}

func netpollEcho(trips int) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		os.Exit(1)
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go echoOne(c)
		}
	}()
	measureEcho("netpoll_echo_one", listener.Addr().String(), 1, trips/4)
	measureEcho("netpoll_echo", listener.Addr().String(), 100, trips)
	listener.Close()
}
