// Reads BMCs with gofish, all at once and four requests at a time each: the argument is the list that rack-bmc printed.
// Prints one JSON object.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/stmcginnis/gofish"
)

type bmc struct{ URL, User, Password string }

// read reads the same resources that the others read.
func read(one bmc) (int, error) {
	client, err := gofish.Connect(gofish.ClientConfig{
		Endpoint: one.URL, Username: one.User, Password: one.Password,
		Insecure: true, MaxConcurrentRequests: 4, ReuseConnections: true,
	})
	if err != nil {
		return 0, err
	}
	defer client.HTTPClient.CloseIdleConnections()
	defer client.Logout()
	systems, err := client.Service.Systems()
	if err != nil {
		return 0, err
	}
	parts := 0
	for _, system := range systems {
		processors, err := system.Processors()
		if err != nil {
			return 0, err
		}
		modules, err := system.Memory()
		if err != nil {
			return 0, err
		}
		storages, err := system.Storage()
		if err != nil {
			return 0, err
		}
		for _, storage := range storages {
			drives, err := storage.Drives()
			if err != nil {
				return 0, err
			}
			parts += len(drives)
		}
		ports, err := system.EthernetInterfaces()
		if err != nil {
			return 0, err
		}
		parts += len(processors) + len(modules) + len(ports)
	}
	managers, err := client.Service.Managers()
	return parts + len(managers), err
}

func main() {
	file, err := os.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	var bmcs []bmc
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var one bmc
		if json.Unmarshal(lines.Bytes(), &one) == nil {
			bmcs = append(bmcs, one)
		}
	}
	began := time.Now()
	var wait sync.WaitGroup
	var lock sync.Mutex
	count, parts, failure := 0, 0, ""
	for _, one := range bmcs {
		wait.Add(1)
		go func() {
			defer wait.Done()
			found, err := read(one)
			lock.Lock()
			defer lock.Unlock()
			if err != nil {
				failure = fmt.Sprintf("%s: %v", one.URL, err)
				return
			}
			count++
			parts += found
		}()
	}
	wait.Wait()
	said := map[string]any{"seconds": time.Since(began).Seconds(), "read": count, "parts": parts}
	if failure != "" {
		said["failure"] = failure
	}
	text, _ := json.Marshal(said)
	fmt.Println(string(text))
}
