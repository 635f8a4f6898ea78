package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// What a machine should have, and what a wrong one is told.
const (
	fewDescriptors = 1024
	littleSpace    = 256 << 20
)

// dataDir tries to write where the server will.
func (d *doctor) dataDir() {
	dir := d.cfg.DataDir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.note("data", "%s is not there yet; serve makes it", dir)
		dir = nearest(dir)
	case err != nil:
		d.bad("data", "%s cannot be looked at: %s; make it reachable for this user", dir, pathCause(err))
		return
	case !info.IsDir():
		d.bad("data", "%s is no directory: choose another with REALMS_DATA_DIR", dir)
		return
	}
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		d.bad("data", "%s cannot be written to: %s; make it writable for this user, or choose another with REALMS_DATA_DIR", dir, pathCause(err))
		return
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		d.bad("data", "%s: %s", dir, err)
		return
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err == nil {
		if free := uint64(disk.Bsize) * disk.Bavail; free < littleSpace {
			d.bad("data", "only %d MiB are free where %s is: make room", free>>20, dir)
			return
		}
	}
	d.ok("data", "%s can be written to", dir)
}

// nearest is the folder above a path that exists.
func nearest(path string) string {
	for {
		up := filepath.Dir(path)
		if _, err := os.Stat(up); err == nil || up == path {
			return up
		}
		path = up
	}
}

func (d *doctor) tryListen(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", d.cfg.Server.Addr)
	if err != nil {
		return err
	}
	return l.Close()
}

// descriptors: a relayed request takes two, its client's and its upstream's.
func (d *doctor) descriptors() {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		d.note("limits", "the number of open files allowed is unknown: %s", err)
		return
	}
	const reserve = 64
	requests := (limit.Cur - min(limit.Cur, reserve)) / 2
	if limit.Cur < fewDescriptors {
		d.bad("limits", "%d open files are allowed, enough for %d requests at once: raise it (ulimit -n, LimitNOFILE= of systemd)", limit.Cur, requests)
		return
	}
	d.ok("limits", "%d open files are allowed, enough for %d requests at once", limit.Cur, requests)
}

// innermost is the last cause of a chain: what the system said.
func innermost(err error) string {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err.Error()
}

func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }
