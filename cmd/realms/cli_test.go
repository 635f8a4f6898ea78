package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"realms/internal/config"
	"realms/internal/store/storetest"
)

// TestWordsOnly holds what a command lets through of a log: what was lost, as a line
// for people; everything for who looks for a fault.
func TestWordsOnly(t *testing.T) {
	for level, want := range map[string]string{
		"info":  "tokens not stored (me/main): disk full\n",
		"warn":  "tokens not stored (me/main): disk full\n",
		"debug": "level=ERROR",
	} {
		var out bytes.Buffer
		cfg := config.Default()
		cfg.Log.Level = level
		log := (&cli{stderr: &out}).wordsOnly(cfg).With("more", 1)
		log.Info("renewed")
		log.Warn("trying again later", "error", errors.New("away"))
		log.Error("tokens not stored", "credential", "me/main", "n", 7, "error", errors.New("disk full"))
		if got := out.String(); level != "debug" && got != want || level == "debug" && (!strings.Contains(got, want) || !strings.Contains(got, "level=WARN")) {
			t.Errorf("%s: %q", level, got)
		}
	}
}

// TestDisableUserOfAnAccountsGroup holds that a user who must not be in a group may be
// kept out of everything; and that nothing else is let through with it.
func TestDisableUserOfAnAccountsGroup(t *testing.T) {
	dir := t.TempDir()
	var errs bytes.Buffer
	realms := func(args ...string) int {
		errs.Reset()
		c := &cli{stdout: &bytes.Buffer{}, stderr: &errs, stdin: strings.NewReader(""), env: []string{"REALMS_DATA_DIR=" + dir}, program: "realms"}
		return c.run(t.Context(), args)
	}
	file := filepath.Join(dir, "me.yaml")
	err := os.WriteFile(file, []byte(`
groups: [{name: owner}]
channels:
  - {name: me, type: codex_oauth, groups: [owner], models: [gpt-5.5], endpoints: [{credentials: [{name: main}]}]}
users: [{name: helper, role: admin, groups: [owner]}]
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if code := realms("apply", "-f", file); code != 0 {
		t.Fatal(errs.String())
	}
	_, err = storetest.Raw(t, "sqlite:"+filepath.Join(dir, "realms.db")).ExecContext(t.Context(), "UPDATE users SET role = 'user'")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		args string
		code int
	}{
		{"user set helper --groups owner,default", exitFailed},
		{"user set helper --disable", 0},
		{"user set helper --disable", 0},
		{"user set helper --enable", exitFailed},
		{"user set helper --role user --groups owner,default --disable", exitFailed},
		{"user set new --disable", 0},
	} {
		if code := realms(strings.Fields(step.args)...); code != step.code {
			t.Errorf("%s: exit code %d, %s", step.args, code, errs.String())
		}
	}
}
