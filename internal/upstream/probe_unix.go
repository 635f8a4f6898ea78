//go:build unix

package upstream

import (
	"net"
	"syscall"
)

// probe looks into a socket without reading from it. It serves one goroutine at a
// time.
type probe struct {
	raw  syscall.RawConn
	look func(fd uintptr) // made once: a closure a request would be garbage
	err  error
	buf  [1]byte
}

func (p *probe) open(c net.Conn) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	p.raw = raw
	p.look = func(fd uintptr) {
		_, _, p.err = syscall.Recvfrom(int(fd), p.buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}
}

// touched tells whether bytes or the other side's end have arrived: an idle socket
// has nothing to give but EAGAIN.
func (p *probe) touched() bool {
	if p.raw == nil {
		return false
	}
	return p.raw.Control(p.look) == nil && p.err == nil
}
