package server

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"realms/internal/realm"
)

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); err == nil || realm.AsError(err).Code != realm.CodeConflict {
		t.Errorf("locked twice: %v", err)
	}
	unlock()
	if unlock, err = Lock(dir); err != nil {
		t.Fatalf("locked after it was let go: %v", err)
	}
	unlock()
}

// The control socket is nobody else's before its mode is set, too.
func TestListenPrivately(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "s")
	ln, err := listenPrivately(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %o", info.Mode().Perm())
	}
	if mask := syscall.Umask(0); mask != 0 {
		t.Errorf("the mask is left at %o", mask)
	}
}
