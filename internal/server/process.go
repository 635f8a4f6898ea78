package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"realms/internal/realm"
)

// Lock takes the data directory for this process: two servers on one would each
// believe that the other's records are of a dead process. A server takes it before
// it touches the store, so that it migrates nothing under another one. A directory
// that another process holds is a realm.CodeConflict.
func Lock(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, "serve.lock")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unusable(dir, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, unusable(dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &realm.Error{Code: realm.CodeConflict, Message: fmt.Sprintf(
				"another realms serve uses %s: stop it, or give this one a directory of its own with REALMS_DATA_DIR", dir)}
		}
		return nil, unusable(dir, err)
	}
	return func() { _ = f.Close() }, nil // the lock goes with the descriptor
}

func unusable(dir string, err error) error {
	return &realm.Error{Code: realm.CodeUnavailable, Err: err, Message: fmt.Sprintf(
		"cannot write to the data directory %s: %s; make it writable, or choose another with REALMS_DATA_DIR", dir, reason(err))}
}

// maxConnections leaves room for an upstream connection beside each accepted one,
// and for files.
func maxConnections() int64 {
	const reserve = 64
	var rl syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &rl); err != nil || rl.Cur <= reserve+2 {
		return 1
	}
	const plenty = 1 << 20 // RLIM_INFINITY is no number to divide
	return int64(min(rl.Cur, plenty)-reserve) / 2
}
