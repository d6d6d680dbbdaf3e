package main

import (
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"
)

// count is what requests of one kind came to.
type count struct {
	Requests int64   `json:"requests"`
	Read     int64   `json:"read"`    // bytes of request bodies
	Written  int64   `json:"written"` // bytes of answers
	Seconds  float64 `json:"seconds"` // between a request's first byte and its answer's last one
}

type counters struct {
	mutex  sync.Mutex
	counts map[string]count
}

func (c *counters) add(kind string, read, written int64, took time.Duration) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.counts == nil {
		c.counts = map[string]count{}
	}
	now := c.counts[kind]
	now.Requests++
	now.Read += read
	now.Written += written
	now.Seconds += took.Seconds()
	c.counts[kind] = now
}

func (c *counters) write(w http.ResponseWriter) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(c.counts)
}

// countedBody counts what is read of a request.
type countedBody struct {
	io.ReadCloser
	bytes int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes += int64(n)
	return n, err
}

// countedAnswer counts what is written of an answer.
type countedAnswer struct {
	http.ResponseWriter
	bytes int64
}

func (a *countedAnswer) Write(p []byte) (int, error) {
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}
