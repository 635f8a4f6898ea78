package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver
)

// declaration is what `realms apply` is given: channels to the fake upstream, which
// speaks for every model of the benchmark; two of them in one dialect alone.
const declaration = `groups:
  - {name: default, multiplier: 1.0}
channels:
  - name: bench
    type: openai_compatible
    groups: [default]
    endpoints:
      - base_url: %[1]s/v1
        credentials:
          - {name: main, api_key: bench}
    models: [%[2]s, %[3]s, %[4]s, %[5]s, %[6]s]
  - name: bench-chat
    type: openai_compatible
    groups: [default]
    apis: [chat]
    endpoints:
      - base_url: %[1]s/v1
        credentials:
          - {name: main, api_key: bench}
    models: [%[7]s]
  - name: bench-responses
    type: openai_compatible
    groups: [default]
    apis: [responses]
    endpoints:
      - base_url: %[1]s/v1
        credentials:
          - {name: main, api_key: bench}
    models: [%[8]s]
users:
  - {name: bench, role: user, groups: [default]}
`

// addRealms prepares Realms, with its rows and without, each over a fresh
// SQLite store of its own.
func (r *rig) addRealms(ctx context.Context, o options) error {
	if o.realms == "" {
		r.missing = append(r.missing, "realms: left out by -realms ''")
		return nil
	}
	var errs []error
	for _, name := range []string{"realms", "realms-norows"} {
		if !o.named(name, true) {
			continue
		}
		t, err := r.realms(ctx, o.realms, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.targets = append(r.targets, t)
	}
	return errors.Join(errs...)
}

func (r *rig) realms(ctx context.Context, binary, name string) (*target, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(r.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	file := filepath.Join(dir, "declaration.yaml")
	text := fmt.Sprintf(declaration, r.url, modelSmall, modelStream, modelPaced, modelIdle, modelResponses, modelOverChat, modelOverResponses)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the declaration: %w", err)
	}
	env := append(os.Environ(), "REALMS_SERVER_ADDR="+addr, "REALMS_DATA_DIR="+dir, "REALMS_LOG_LEVEL=warn")
	if name == "realms-norows" {
		env = append(env, "REALMS_USAGE_ROWS=false")
	}
	command := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, binary, args...)
		cmd.Env, cmd.Dir = env, dir
		out, err := cmd.Output()
		if err != nil {
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				err = fmt.Errorf("%w: %s", err, exit.Stderr)
			}
			return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	if _, err := command("apply", "-f", file); err != nil {
		return nil, err
	}
	token, err := command("token", "create", "--user", "bench", "--name", "bench")
	if err != nil {
		return nil, err
	}
	store := ""
	if name == "realms" {
		store = filepath.Join(dir, "realms.db")
	}
	return &target{name: name, token: token, store: store, launch: func(ctx context.Context) (*process, string, error) {
		p, err := launch(ctx, spec{cpu: gatewayCPU, env: env, argv: []string{binary, "serve"}})
		return p, addr, err
	}}, nil
}

// kept counts the rows in the target's store; it must not be running.
func (t *target) kept(ctx context.Context) (n int, err error) {
	db, err := sql.Open("sqlite", t.store)
	if err != nil {
		return 0, fmt.Errorf("open the store: %w", err)
	}
	defer func() { _ = db.Close() }() // it was only read
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM requests").Scan(&n); err != nil {
		return 0, fmt.Errorf("count the rows: %w", err)
	}
	return n, nil
}
