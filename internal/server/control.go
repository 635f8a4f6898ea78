package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"realms/internal/realm"
	"realms/internal/scheduler"
	"realms/internal/version"
)

// control answers the commands of this machine on a Unix socket in the data
// directory. Its file mode is its lock: it asks for no token.
type control struct {
	app *App
	srv *http.Server
	// channels is what the scheduler knows now; mend makes it forget what it holds
	// against a channel, or against one of its credentials (0: everything).
	channels func() []scheduler.ChannelState
	mend     func(channel, credential realm.ID)
}

func (a *App) controlServer() *control {
	c := &control{
		app:      a,
		channels: func() []scheduler.ChannelState { return a.Scheduler.State(a.Catalog.Snapshot(), time.Now()) },
		mend: func(channel, credential realm.ID) {
			a.Scheduler.Mend(a.Catalog.Snapshot(), channel, credential, time.Now())
		},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", c.health)
	mux.HandleFunc("POST /changes", c.changes)
	mux.HandleFunc("GET /channels", c.listChannels)
	mux.HandleFunc("POST /channels/{name}/test", c.testChannel)
	mux.HandleFunc("POST /channels/{name}/mend", c.mendChannel)
	mux.HandleFunc("GET /requests/{id}", c.request)
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.Registry, promhttp.HandlerOpts{}))
	c.srv = &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	return c
}

// start listens. A socket file that a dead process left is replaced: the data
// directory's lock says that no living one uses it.
func (c *control) start(ctx context.Context, work *errgroup.Group) error {
	path := c.app.Config.ControlSocket()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replace the control socket: %w", err)
	}
	ln, err := listenPrivately(ctx, path)
	if err != nil {
		return fmt.Errorf("open the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("guard the control socket: %w", err), ln.Close())
	}
	work.Go(func() error {
		if err := c.srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

// listenPrivately makes a socket that is its owner's from its first moment: with a
// mode that is set after listening alone, others could connect in between. The mask
// is the whole process's and is put back at once; what else is made meanwhile is at
// worst too private.
func listenPrivately(ctx context.Context, path string) (net.Listener, error) {
	defer syscall.Umask(syscall.Umask(0o177))
	return new(net.ListenConfig).Listen(ctx, "unix", path)
}

func (c *control) stop() { _ = c.srv.Close() } // the process is leaving

func (c *control) health(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]any{
		"status": "ok", "version": version.String(), "addr": c.app.addr,
		"catalogue_version": c.app.Catalog.Snapshot().Version, "cluster": c.app.Cluster.State(),
	})
}

// changes makes what a command has just written known at once.
func (c *control) changes(w http.ResponseWriter, _ *http.Request) {
	c.app.changed()
	w.WriteHeader(http.StatusNoContent)
}

func (c *control) testChannel(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Minute)
	defer cancel()
	result, err := c.app.Gateway.TestChannel(ctx, r.PathValue("name"), r.URL.Query().Get("model"))
	if err != nil {
		replyError(w, err)
		return
	}
	reply(w, http.StatusOK, result)
}

func (c *control) request(w http.ResponseWriter, r *http.Request) {
	id, err := realm.ParseRequestID(r.PathValue("id"))
	if err != nil {
		replyError(w, realm.Invalid("id", err.Error()))
		return
	}
	story, err := ReadStory(r.Context(), c.app.Store, id)
	if err != nil {
		replyError(w, err)
		return
	}
	reply(w, http.StatusOK, story)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the command may be gone
}

// replyError answers with a message that a command prints as it is.
func replyError(w http.ResponseWriter, err error) {
	e := realm.AsError(err)
	status := http.StatusInternalServerError
	switch e.Code {
	case realm.CodeInvalid:
		status = http.StatusBadRequest
	case realm.CodeNotFound:
		status = http.StatusNotFound
	case realm.CodeConflict:
		status = http.StatusConflict
	default:
	}
	reply(w, status, map[string]string{"error": e.Message})
}
