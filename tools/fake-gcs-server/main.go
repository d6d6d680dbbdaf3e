// Command fake-gcs-server serves fsouza/fake-gcs-server with resumable uploads that are kept on disk.
//
// The emulator itself appends each chunk to the object in memory and then digests all of it again, so an upload in
// chunks costs it time in the square of their number and several times the object's size in memory (its
// fakestorage/upload.go says so in a comment). It also takes the question "how much do you have?" for the end of the
// upload. Here a session's chunks go to a file, as the protocol's description has it
// (cloud.google.com/storage/docs/performing-resumable-uploads); the emulator then gets the object in one piece.
// Everything else is answered by the emulator, unchanged.
//
// GET /_counters tells what went through: requests, bytes and seconds, by kind.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

func main() {
	root := flag.String("root", "", "folder that keeps the objects, one file each below BUCKET/")
	spool := flag.String("spool", "", "folder for unfinished uploads, outside of the root")
	bucket := flag.String("bucket", "", "bucket to create")
	port := flag.Int("port", 0, "port on 127.0.0.1; 0 chooses a free one")
	portFile := flag.String("port-file", "", "file that receives the port once connections are accepted")
	parent := flag.Bool("exit-with-stdin", false, "exit when standard input ends")
	flag.Parse()
	if *root == "" || *spool == "" || *bucket == "" {
		log.Fatal("fake-gcs-server: --root, --spool and --bucket are needed")
	}
	if err := serve(*root, *spool, *bucket, *port, *portFile, *parent); err != nil {
		log.Fatalf("fake-gcs-server: %v", err)
	}
}

func serve(root, spool, bucket string, port int, portFile string, parent bool) error {
	emulator, err := fakestorage.NewServerWithOptions(fakestorage.Options{StorageRoot: root, NoListener: true})
	if err != nil {
		return err
	}
	emulator.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: bucket})
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	if portFile != "" {
		number := listener.Addr().(*net.TCPAddr).Port
		if err := os.WriteFile(portFile+".new", fmt.Appendf(nil, "%d\n", number), 0o600); err != nil {
			return err
		}
		if err := os.Rename(portFile+".new", portFile); err != nil {
			return err
		}
	}
	if parent {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
	}
	return http.Serve(listener, newStore(emulator.HTTPHandler(), spool))
}
