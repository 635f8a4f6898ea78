package upstream

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// planWord is the backend's code where an account's plan is used up.
const planWord = "usage_limit_reached"

// renewWords say that an access token is no longer taken. On an API key that is the
// end; an account's is renewed.
var renewWords = []string{"token_revoked", "token_invalidated"}

// planUsedUp: the account's plan gives nothing more for now, which a model's own
// limit does not say.
func (s *seen) planUsedUp() bool { return s.codex() && s.saysPlan() && !s.modelsWindow() }

// modelUsedUp: one model has used up a limit of its own, and the account has others.
func (s *seen) modelUsedUp() bool { return s.codex() && s.saysPlan() && s.modelsWindow() }

func (s *seen) codex() bool { return onCodex(s.x) }

func (s *seen) saysPlan() bool { return code(s.err.Code) == planWord || code(s.err.Type) == planWord }

// modelsWindow tells whether, of what the header tells, only windows are used up that
// are not the account's.
func (s *seen) modelsWindow() bool {
	own, others := s.usedUp(true), s.usedUp(false)
	return own.IsZero() && !others.IsZero()
}

// usedUp is when the last used up window ends, of the account's own or of others;
// zero if none is used up.
func (s *seen) usedUp(own bool) (until time.Time) {
	for i := range s.limits.Windows {
		w := &s.limits.Windows[i]
		if (w.Limit == "") == own && w.Exhausted(s.limits.At) && w.ResetsAt.After(until) {
			until = w.ResetsAt
		}
	}
	return until
}

// planWait is how long a plan is used up: as the error says, else as its windows do,
// else as any answer would say it. A time that is over says nothing: the clocks
// differ, and asking at once would be asking for ever.
func (s *seen) planWait(now time.Time) (wait time.Duration, told bool) {
	wait, told = bodyWait(&s.err, now)
	if wait <= 0 {
		until := s.usedUp(true)
		if until.IsZero() {
			until = s.usedUp(false)
		}
		wait, told = until.Sub(now), !until.IsZero()
	}
	if !told || wait <= 0 {
		wait, told = retryAfter(s.header, now)
	}
	if !told || wait <= 0 {
		return 0, false
	}
	return min(wait, maxWindowWait), true
}

// renewable: the backend refuses an access token that a fresh one may stand for, and
// says nothing worse of the account.
func (s *seen) renewable() bool {
	if !s.codex() || s.status != http.StatusUnauthorized {
		return false
	}
	text := s.ownWords()
	return !slices.ContainsFunc(goneWords, func(w string) bool {
		return !slices.Contains(renewWords, w) && (s.says([]string{w}) || hasWord(text, w))
	}) && !slices.ContainsFunc(goneSentences, func(p [2]string) bool {
		return p[0] != "token" && hasWord(text, p[0]) && strings.Contains(text, p[1])
	})
}
