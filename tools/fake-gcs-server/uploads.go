package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const uploads = "/upload/storage/v1/b/"

// Content-Range of a chunk, or of a question for what is there ("bytes */TOTAL").
var contentRange = regexp.MustCompile(`^bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)$`)

// session is one resumable upload.
type session struct {
	mutex   sync.Mutex
	file    *os.File
	size    int64
	finish  string      // where the emulator takes the whole object
	headers http.Header // with which it does
}

// store answers resumable uploads and leaves everything else to the emulator.
type store struct {
	emulator http.Handler
	spool    string
	counters counters
	sessions sync.Map // upload_id to *session
}

func newStore(emulator http.Handler, spool string) *store {
	return &store{emulator: emulator, spool: spool}
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/_counters" {
		s.counters.write(w)
		return
	}
	counted := &countedBody{ReadCloser: r.Body}
	r.Body = counted
	answer := &countedAnswer{ResponseWriter: w}
	began := time.Now()
	kind := s.answer(answer, r)
	s.counters.add(kind, counted.bytes, answer.bytes, time.Since(began))
}

// answer serves a request and names its kind for the counters.
func (s *store) answer(w http.ResponseWriter, r *http.Request) string {
	query := r.URL.Query()
	if strings.HasPrefix(r.URL.Path, uploads) {
		known, found := s.sessions.Load(query.Get("upload_id"))
		switch {
		case r.Method == http.MethodPost && query.Get("uploadType") == "resumable":
			s.begin(w, r)
			return "begin"
		case found && r.Method == http.MethodDelete:
			s.forget(query.Get("upload_id"), known.(*session))
			w.WriteHeader(499) // as Cloud Storage answers a cancellation
			return "cancel"
		case found && r.Method == http.MethodPut:
			return s.put(w, r, query.Get("upload_id"), known.(*session))
		case query.Has("upload_id"):
			// The emulator still knows it, since it was asked to begin it, and would take the rest for the whole.
			http.Error(w, "there is no such upload", http.StatusNotFound)
			return "refused"
		}
	}
	s.emulator.ServeHTTP(w, r)
	if strings.HasPrefix(r.URL.Path, uploads) {
		return "upload"
	}
	return strings.ToLower(r.Method)
}

// begin lets the emulator judge the request, and opens a session under the emulator's own upload_id.
func (s *store) begin(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var resource struct {
		Name        string            `json:"name"`
		ContentType string            `json:"contentType"`
		Metadata    map[string]string `json:"metadata"`
	}
	if len(content) > 0 {
		if err := json.Unmarshal(content, &resource); err != nil {
			http.Error(w, "the object's metadata is no JSON", http.StatusBadRequest)
			return
		}
	}
	r.Body = io.NopCloser(strings.NewReader(string(content)))
	answer := httptest.NewRecorder()
	s.emulator.ServeHTTP(answer, r)
	if answer.Code == http.StatusOK {
		location, err := url.Parse(answer.Header().Get("Location"))
		if err == nil {
			err = s.open(location.Query().Get("upload_id"), r, resource.Name, resource.ContentType, resource.Metadata)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	copyAnswer(w, answer)
}

func (s *store) open(id string, r *http.Request, name, kind string, metadata map[string]string) error {
	file, err := os.Create(filepath.Join(s.spool, id))
	if err != nil {
		return err
	}
	query := r.URL.Query()
	whole := url.Values{"uploadType": {"media"}, "name": {name}}
	if name == "" {
		whole.Set("name", query.Get("name"))
	}
	for _, condition := range []string{"ifGenerationMatch", "ifGenerationNotMatch"} {
		if query.Has(condition) {
			whole.Set(condition, query.Get(condition))
		}
	}
	if kind == "" {
		kind = r.Header.Get("X-Upload-Content-Type")
	}
	headers := http.Header{"Content-Type": {kind}}
	for key, value := range metadata {
		headers.Set("X-Goog-Meta-"+key, value)
	}
	s.sessions.Store(id, &session{file: file, finish: r.URL.Path + "?" + whole.Encode(), headers: headers})
	return nil
}

// put takes a chunk, or tells how much there is; the last chunk completes the object.
func (s *store) put(w http.ResponseWriter, r *http.Request, id string, upload *session) string {
	upload.mutex.Lock()
	defer upload.mutex.Unlock()
	first, last, total, err := parseRange(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return "refused"
	}
	if first >= 0 && first != upload.size {
		http.Error(w, fmt.Sprintf("bytes from %d on are missing", upload.size), http.StatusServiceUnavailable)
		return "refused"
	}
	if first >= 0 {
		count, err := io.Copy(upload.file, r.Body)
		upload.size += count
		if err != nil || upload.size != last+1 {
			http.Error(w, "the chunk ended too soon", http.StatusServiceUnavailable)
			return "refused"
		}
	}
	if total < 0 || upload.size < total {
		if upload.size > 0 {
			w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", upload.size-1))
		}
		w.WriteHeader(http.StatusPermanentRedirect)
		return "chunk"
	}
	s.finish(w, r, id, upload)
	return "finish"
}

// finish hands the whole object to the emulator and passes its answer on.
func (s *store) finish(w http.ResponseWriter, r *http.Request, id string, upload *session) {
	defer s.forget(id, upload)
	if _, err := upload.file.Seek(0, io.SeekStart); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	// Without Close: the emulator closes what it is given, and the session still needs its file.
	whole, err := http.NewRequestWithContext(r.Context(), http.MethodPost, upload.finish, io.NopCloser(upload.file))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	whole.Host, whole.Header = r.Host, upload.headers
	s.emulator.ServeHTTP(w, whole)
}

func (s *store) forget(id string, upload *session) {
	s.sessions.Delete(id)
	_ = upload.file.Close()
	_ = os.Remove(upload.file.Name())
}

// parseRange gives the first and last byte, -1 for a question, and the total, -1 if it is unknown so far.
func parseRange(r *http.Request) (first, last, total int64, err error) {
	given := r.Header.Get("Content-Range")
	if given == "" { // the whole object in one request
		return 0, r.ContentLength - 1, r.ContentLength, nil
	}
	found := contentRange.FindStringSubmatch(given)
	if found == nil {
		return 0, 0, 0, fmt.Errorf("Content-Range is %q", given)
	}
	return number(found[1]), number(found[2]), number(found[3]), nil
}

func number(text string) int64 {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return value
}

func copyAnswer(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	for key, values := range answer.Header() {
		w.Header()[key] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}
