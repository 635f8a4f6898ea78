package codex

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// noticed is a context whose notices are sent on.
func noticed(ctx context.Context) (context.Context, <-chan string) {
	heard := make(chan string, 10)
	return WithNotice(ctx, func(sentence string) { heard <- sentence }), heard
}

// wantNotice fails unless the next notice holds a text.
func wantNotice(t *testing.T, heard <-chan string, text string) {
	t.Helper()
	select {
	case got := <-heard:
		if !strings.Contains(got, text) {
			t.Errorf("the notice is %q, want something of %q", got, text)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("nothing of %q was noticed", text)
	}
}

// Who renews by hand is told of another process's lease, and may go: then nothing has
// changed.
func TestRefreshSaysThatItWaits(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	p.leased(r.Now().Add(leaseTime))
	ctx, leave := context.WithCancel(t.Context())
	ctx, heard := noticed(ctx)
	done := make(chan error, 1)
	go func() {
		_, err := p.Refresh(ctx, actor, "codex", "main")
		done <- err
	}()
	wantNotice(t, heard, "Another process")
	leave()
	err := <-done
	wantError(t, "given up", err, context.Canceled)
	if text := realm.AsError(err).Message; !strings.Contains(text, "nothing has changed") {
		t.Errorf("who gives up is told %q", text)
	}
	p.Close()
	r.wantRefreshes(0)
	if len(heard) > 0 {
		t.Errorf("and told %q", <-heard)
	}
}

// Once the issuer is asked there is nothing left to give up: what it gives is stored,
// and whoever wanted to go is told so.
func TestStoppedWhileTheIssuerAnswers(t *testing.T) {
	for name, begin := range map[string]func(r *rig, p *process) func(ctx context.Context) (*Account, error){
		"refresh": func(_ *rig, p *process) func(ctx context.Context) (*Account, error) {
			return func(ctx context.Context) (*Account, error) { return p.Refresh(ctx, actor, "codex", "main") }
		},
		"sign-in": func(r *rig, p *process) func(ctx context.Context) (*Account, error) {
			in, err := p.StartDevice(p.t.Context(), actor, Target{Channel: "codex", Credential: "main"})
			p.must(err)
			r.fake.Confirm(p.t, in.UserCode)
			return func(ctx context.Context) (*Account, error) { return p.PollDevice(ctx, actor, in.State) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "sqlite")
			p := r.process()
			r.signIn(p)
			before := p.row()
			r.forward(time.Second)
			verb := begin(r, p)
			ctx, leave := context.WithCancel(t.Context())
			ctx, heard := noticed(ctx)
			release := r.fake.Block(codextest.PathToken)
			done := make(chan error, 1)
			go func() {
				_, err := verb(ctx)
				done <- err
			}()
			r.fake.Waiting(t, codextest.PathToken, 1)
			leave()
			wantNotice(t, heard, "too late to stop")
			release()
			if err := <-done; err != nil && strings.Contains(realm.AsError(err).Message, "nothing") {
				t.Errorf("who gives up is told %v", err)
			}
			p.Close()
			if row := p.row(); row.Version <= before.Version || !r.fake.Serves(row.Tokens.Refresh) {
				t.Errorf("version %d after %d; its token serves: %v", row.Version, before.Version, r.fake.Serves(row.Tokens.Refresh))
			}
		})
	}
}

// What could not be revoked is told, and gone here all the same.
func TestUnrevokedIsTold(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	away := testkit.Status(http.StatusServiceUnavailable, "")
	r.fake.Always(codextest.PathRevoke, away)
	in, err := p.StartDevice(t.Context(), actor, Target{Channel: "codex", Credential: "main"})
	p.must(err)
	r.fake.Confirm(t, in.UserCode)
	ctx, heard := noticed(t.Context())
	r.forward(time.Second)
	_, err = p.PollDevice(ctx, actor, in.State)
	p.must(err)
	wantNotice(t, heard, "could not be revoked")
	unrevoked, err := p.Remove(t.Context(), actor, "codex", "main")
	if err != nil || unrevoked == nil || realm.AsError(unrevoked).Message == "" {
		t.Errorf("removed: %v, %v", unrevoked, err)
	}
	if _, err := p.identify(); err == nil {
		t.Error("it is still there")
	}
}

// Operators know credentials by their names, and the log does.
func TestLogNamesTheCredential(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	r.fake.EndRefresh(codextest.AccountID, "refresh_token_expired")
	_, err := p.Refresh(t.Context(), actor, "codex", "main")
	wantError(t, "refreshed", err, ErrRefused)
	log := r.log.String()
	if n := strings.Count(log, "credential="); n < 2 || n != strings.Count(log, "credential=codex/main") {
		t.Errorf("the log names credentials otherwise:\n%s", log)
	}
}
