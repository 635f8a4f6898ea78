package clients

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// need ends the test when a file that `npm ci` installs is missing: with a skip
// on a developer's machine, with a failure where CI is set. It returns the
// absolute path.
func need(t *testing.T, file string) string {
	t.Helper()
	_, err := exec.LookPath("node")
	if err == nil {
		file = filepath.Join("node_modules", file)
		_, err = os.Stat(file)
	}
	if err != nil {
		const how = "run `npm ci --ignore-scripts` in test/clients"
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s (%v)", how, err)
		}
		t.Skipf("a real client is not installed: %s (%v)", how, err)
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// codexBinary is the CLI's own binary: its launcher in JavaScript is left out,
// so that nothing but the CLI runs.
func codexBinary(t *testing.T) string {
	t.Helper()
	arch := map[string]string{"amd64": "x64/vendor/x86_64", "arm64": "arm64/vendor/aarch64"}[runtime.GOARCH]
	system := map[string]string{"linux": "unknown-linux-musl", "darwin": "apple-darwin"}[runtime.GOOS]
	dir, target, _ := strings.Cut(arch, "/vendor/")
	return need(t, filepath.Join("@openai", "codex-"+runtime.GOOS+"-"+dir, "vendor", target+"-"+system, "bin", "codex"))
}

// nowhere is a proxy that nobody runs: what a client asks of any other machine
// (a newer version, a list of plugins) ends here.
const nowhere = "http://127.0.0.1:9"

// longest is how long a client's process may take, on a busy machine and under the
// race detector.
const longest = 3 * time.Minute

// command prepares a client's process: no environment but what is given and PATH.
func command(t *testing.T, dir string, env []string, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "NO_PROXY=127.0.0.1", "HTTPS_PROXY=" + nowhere, "HTTP_PROXY=" + nowhere}, env...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}
