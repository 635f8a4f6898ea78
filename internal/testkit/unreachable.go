package testkit

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// Refused is a base URL where nobody listens: its port is taken, so that no other
// test can come to it, and was never opened.
func Refused(t testing.TB) string {
	t.Helper()
	_, address := bound(t)
	return "http://" + address + "/v1"
}

// Blackhole is a base URL whose host does not answer to a connection: its queue of
// connections is full, so that the kernel drops what comes (Linux).
func Blackhole(t testing.TB) string {
	t.Helper()
	fd, address := bound(t)
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatalf("listen: %v", err)
	}
	fill(t, address)
	return "http://" + address + "/v1"
}

// bound is a socket with a free port of 127.0.0.1, until the test ends.
func bound(t testing.TB) (fd int, address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("socket: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatalf("bind: %v", err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatalf("getsockname: %v", err)
	}
	v4, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatalf("address is %T", name)
	}
	return fd, (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: v4.Port}).String()
}

// fill opens connections until the kernel takes no more.
func fill(t testing.TB, address string) {
	t.Helper()
	for range 16 {
		c, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("the queue of connections does not fill")
}
