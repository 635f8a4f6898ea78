package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/server"
)

// control speaks to the server that runs on the same data directory, through its
// socket.
type control struct {
	socket string
	client *http.Client
}

// errNoServer: nobody serves on this data directory.
var errNoServer = errors.New("no server is running on this data directory")

// How long the server may take for a quick answer, and for a channel's test.
const (
	controlPatience = 2 * time.Second
	testPatience    = 3 * time.Minute
)

func newControl(cfg config.Config) *control {
	socket := cfg.ControlSocket()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &control{socket: socket, client: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// health is what a running server says of itself.
type health struct {
	Version string `json:"version"`
	Addr    string `json:"addr"`
}

func (c *control) health(ctx context.Context) (*health, error) {
	var h health
	return &h, c.call(ctx, controlPatience, http.MethodGet, "/health", &h)
}

// poke makes a running server read what has just changed; it would see it within
// a second anyway, so nothing is lost when there is none.
func (c *control) poke(ctx context.Context) {
	_ = c.call(ctx, controlPatience, http.MethodPost, "/changes", nil)
}

// testResult is what a channel's test found.
type testResult struct {
	OK        bool   `json:"ok"`
	Status    int    `json:"status"`
	Model     string `json:"model"`
	LatencyMS int64  `json:"latency_ms"`
	Error     string `json:"error"`
}

func (c *control) testChannel(ctx context.Context, name, model string) (*testResult, error) {
	var r testResult
	path := "/channels/" + url.PathEscape(name) + "/test?model=" + url.QueryEscape(model)
	return &r, c.call(ctx, testPatience, http.MethodPost, path, &r)
}

// channels is the live state, a server.Channels, as the server gave it.
func (c *control) channels(ctx context.Context) (json.RawMessage, error) {
	var raw json.RawMessage
	err := c.call(ctx, controlPatience, http.MethodGet, "/channels", &raw)
	return raw, err
}

// state is what channels tells, read.
func (c *control) state(ctx context.Context) (*server.Channels, error) {
	raw, err := c.channels(ctx)
	if err != nil {
		return nil, err
	}
	return readChannels(raw)
}

func readChannels(raw json.RawMessage) (*server.Channels, error) {
	var all server.Channels
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	return &all, nil
}

// mend makes the server forget what it holds against a channel, or against its
// credentials of a name.
func (c *control) mend(ctx context.Context, name, credential string) (*server.Mended, error) {
	var m server.Mended
	path := "/channels/" + url.PathEscape(name) + "/mend?credential=" + url.QueryEscape(credential)
	return &m, c.call(ctx, controlPatience, http.MethodPost, path, &m)
}

// story is a request's, as the server gave it.
func (c *control) story(ctx context.Context, id realm.RequestID) (*server.Story, error) {
	var s server.Story
	return &s, c.call(ctx, controlPatience, http.MethodGet, "/requests/"+id.String(), &s)
}

func (c *control) call(ctx context.Context, patience time.Duration, method, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://realms"+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return errNoServer
		}
		return fmt.Errorf("ask the server through %s: %w", c.socket, err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end, or of no more use
	if resp.StatusCode >= http.StatusBadRequest {
		var body struct{ Error string }
		if json.NewDecoder(resp.Body).Decode(&body) != nil || body.Error == "" {
			body.Error = "the server answered " + resp.Status
		}
		return errors.New(body.Error)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}
