package netguard_test

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
)

// nameServer answers every A question with what answer says, and every other
// question with nothing. It is as much DNS as the tests need.
type nameServer struct {
	conn   net.PacketConn
	answer func(question int) [4]byte
	asked  atomic.Int64
}

func startNameServer(t *testing.T, answer func(question int) [4]byte) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn, answer: answer}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serve()
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return s
}

func (s *nameServer) serve() {
	buf := make([]byte, 512)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if reply := s.reply(buf[:n]); reply != nil {
			_, _ = s.conn.WriteTo(reply, from)
		}
	}
}

func (s *nameServer) reply(query []byte) []byte {
	end := 12
	for end < len(query) && query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5 // the root label, type and class
	if end > len(query) {
		return nil
	}
	isA := query[end-4] == 0 && query[end-3] == 1
	reply := append([]byte{}, query[:end]...)
	reply[2], reply[3] = 0x81, 0x80
	for i := 6; i < 12; i++ {
		reply[i] = 0
	}
	if !isA {
		return reply
	}
	reply[7] = 1
	ip := s.answer(int(s.asked.Add(1)))
	reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
	return append(reply, ip[:]...)
}

func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, strings.Replace(network, "tcp", "udp", 1), s.conn.LocalAddr().String())
	}}
}
