package upstream

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"

	"realms/internal/realm"
)

// maxCookie bounds a cookie's value; the largest known takes 300 bytes.
const maxCookie = 4 << 10

// codexCookie tells whether a cookie is one of the firewall's before the backend: they
// say that a connection has been looked at, and nothing of an account. The provider's
// official client keeps these, and no others.
func codexCookie(name string) bool {
	switch name {
	case "__cf_bm", "_cfuvid", "__cflb":
		return true
	}
	return false
}

// cookieJars hold the firewall's cookies of each credential, apart from one another,
// while this process runs. The zero value is empty.
type cookieJars struct {
	mu   sync.Mutex
	jars map[realm.ID]*cookiejar.Jar
}

// of finds a credential's jar; nil if it has none and none is to be made.
func (c *cookieJars) of(credential realm.ID, create bool) *cookiejar.Jar {
	c.mu.Lock()
	defer c.mu.Unlock()
	jar := c.jars[credential]
	if jar == nil && create {
		jar, _ = cookiejar.New(nil) // never fails
		if c.jars == nil {
			c.jars = map[realm.ID]*cookiejar.Jar{}
		}
		c.jars[credential] = jar
	}
	return jar
}

// add puts a credential's cookies on a request.
func (c *cookieJars) add(x *Exchange, req *http.Request) {
	jar := c.of(x.Attempt.Credential.ID, false)
	if jar == nil {
		return
	}
	for _, cookie := range jar.Cookies(req.URL) {
		req.AddCookie(cookie)
	}
}

// keep takes over what an answer sets: for its own host alone, and one value of each
// name, so that a jar never grows.
func (c *cookieJars) keep(x *Exchange, u *url.URL, res *http.Response) {
	if len(res.Header["Set-Cookie"]) == 0 {
		return
	}
	var kept []*http.Cookie
	for _, cookie := range res.Cookies() {
		if codexCookie(cookie.Name) && len(cookie.Value) <= maxCookie && domainOf(u.Hostname(), cookie.Domain) {
			cookie.Domain, cookie.Path = "", "/"
			kept = append(kept, cookie)
		}
	}
	if kept != nil {
		c.of(x.Attempt.Credential.ID, true).SetCookies(u, kept)
	}
}

// domainOf tells whether a host may set a cookie for a domain: its own, or one that
// it lies in.
func domainOf(host, domain string) bool {
	domain = strings.ToLower(strings.TrimPrefix(domain, "."))
	return domain == "" || domain == host || strings.HasSuffix(host, "."+domain)
}

// retain forgets the credentials that the snapshot does not know any more.
func (c *cookieJars) retain(snap *realm.Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.jars {
		if snap.Credential(id) == nil {
			delete(c.jars, id)
		}
	}
}
