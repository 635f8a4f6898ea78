package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a gateway, or the upstream, in a process of its own.
type process struct {
	cmd *exec.Cmd
	log *bytes.Buffer // what it said, for the error message
}

// spec says how to start one.
type spec struct {
	cpu  string // "" leaves it unpinned
	env  []string
	argv []string
}

// start runs a program whose first line of output is its address.
func start(ctx context.Context, s spec) (*process, string, error) {
	p := s.command(ctx)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, "", fmt.Errorf("open the output: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("start %s: %w", s.argv[0], err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.stop()
		return nil, "", fmt.Errorf("wait for the address of %v: %w\n%s", s.argv, err, p.log)
	}
	return p, strings.TrimSpace(line), nil
}

// launch runs a program that listens where it was told to.
func launch(ctx context.Context, s spec) (*process, error) {
	p := s.command(ctx)
	p.cmd.Stdout = p.log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.argv[0], err)
	}
	return p, nil
}

// command prepares the process: pinned, with a group of its own, ended with
// SIGTERM when the context ends.
func (s spec) command(ctx context.Context) *process {
	argv := s.argv
	if s.cpu != "" && os.Getenv(pinnedEnv) != "" {
		argv = append([]string{"taskset", "-c", s.cpu}, argv...)
	}
	p := &process{cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), log: new(bytes.Buffer)}
	p.cmd.Env = append(os.Environ(), s.env...)
	p.cmd.Stderr = p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 5 * time.Second
	return p
}

// stop ends the process and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
	kill := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	_ = p.cmd.Wait() // a signal's exit status is expected
}

// family lists the process and its children (nginx works in a child).
func (p *process) family() []int {
	pid := p.cmd.Process.Pid
	pids := []int{pid}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		text, _ := os.ReadFile(f) // a thread may end meanwhile
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// cpu is the time spent on a CPU so far, in user and kernel, of all threads.
// The scheduler's own count is used because it is in nanoseconds; /proc/PID/stat
// counts hundredths of a second. A thread that ends takes its time with it, but
// neither Go's runtime nor nginx ends threads in the middle of a run.
func (p *process) cpu() (time.Duration, error) {
	var total time.Duration
	for _, pid := range p.family() {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if err != nil || len(files) == 0 {
			return 0, fmt.Errorf("read the CPU time: no /proc/%d/task/*/schedstat (%w)", pid, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if errors.Is(err, os.ErrNotExist) {
				continue // the thread ended meanwhile
			}
			if err != nil {
				return 0, fmt.Errorf("read the CPU time: %w", err)
			}
			first, _, _ := strings.Cut(string(text), " ")
			ns, err := strconv.ParseInt(first, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read the CPU time: %w", err)
			}
			total += time.Duration(ns)
		}
	}
	return total, nil
}

// memory is the resident set and its peak, in KiB, summed over the family.
type memory struct{ now, peak int64 }

func (p *process) memory() (memory, error) {
	var m memory
	for _, pid := range p.family() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return m, fmt.Errorf("read the memory: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			switch name {
			case "VmRSS":
				m.now += kib
			case "VmHWM":
				m.peak += kib
			}
		}
	}
	return m, nil
}

// resetPeak makes the peak count from now.
func (p *process) resetPeak() error {
	for _, pid := range p.family() {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
			return fmt.Errorf("reset the memory's peak: %w", err)
		}
	}
	return nil
}
