package upstream

import (
	"errors"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
)

// maxCachedURLs bounds the cache; object ids make paths unbounded.
const maxCachedURLs = 4096

// urlCache joins base URLs with paths, and remembers the result. The URLs it
// gives are shared: nobody may change them.
type urlCache struct {
	entries sync.Map // urlKey → *url.URL
	count   atomic.Int64
}

type urlKey struct{ base, path string }

// join is the address of a path below /v1 at a base URL, with the client's query.
func (c *urlCache) join(base, path, rawQuery string) (*url.URL, error) {
	var u *url.URL
	if cached, ok := c.entries.Load(urlKey{base, path}); ok {
		u, _ = cached.(*url.URL)
	} else {
		var err error
		if u, err = joinURL(base, path); err != nil {
			return nil, err
		}
		c.remember(urlKey{base, path}, u)
	}
	query := cleanQuery(rawQuery)
	if query == "" {
		return u, nil
	}
	withQuery := *u
	if withQuery.RawQuery != "" {
		query = withQuery.RawQuery + "&" + query
	}
	withQuery.RawQuery = query
	return &withQuery, nil
}

func (c *urlCache) remember(key urlKey, u *url.URL) {
	if c.count.Add(1) > maxCachedURLs {
		c.entries.Clear()
		c.count.Store(1)
	}
	c.entries.Store(key, u)
}

// joinURL puts an escaped path below /v1 onto a base URL, whose prefix is kept. A
// base that names a version somewhere (…/v1, …/paas/v4, …/v1beta/openai) is
// complete; any other gets /v1, so that it is neither doubled nor missing.
func joinURL(base, path string) (*url.URL, error) {
	u, err := parseBase(base)
	if err != nil {
		return nil, err
	}
	decoded, err := checkPath(path)
	if err != nil {
		return nil, err
	}
	prefix, rawPrefix := strings.TrimRight(u.Path, "/"), strings.TrimRight(u.EscapedPath(), "/")
	if !hasVersion(prefix) {
		prefix, rawPrefix = prefix+"/v1", rawPrefix+"/v1"
	}
	return &url.URL{
		Scheme: u.Scheme, Host: u.Host,
		Path: prefix + decoded, RawPath: rawPrefix + path,
		RawQuery: u.RawQuery,
	}, nil
}

// parseBase reads what an administrator declared. The error does not repeat it:
// a base URL may hold a credential where none should be.
func parseBase(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return nil, errors.New("base url cannot be parsed")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("base url is neither http nor https")
	case u.Hostname() == "":
		return nil, errors.New("base url has no host")
	case u.User != nil:
		return nil, errors.New("base url holds a user name or password")
	}
	return u, nil
}

// errPath says that a path would lead elsewhere than it reads.
var errPath = errors.New("path would leave its place")

// checkPath decodes a path, part of which may be a client's (an object's id), and
// refuses one that an upstream could read as another.
func checkPath(path string) (decoded string, err error) {
	if !strings.HasPrefix(path, "/") {
		return "", errPath
	}
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || c == '\\' || c == '?' || c == '#' {
			return "", errPath
		}
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		plain, err := url.PathUnescape(segment)
		if err != nil || plain == "" || plain == "." || plain == ".." || strings.ContainsAny(plain, "/\\%") || !printable(plain) {
			return "", errPath
		}
	}
	return url.PathUnescape(path)
}

// hasVersion tells whether a segment is "v" and a digit, whatever follows.
func hasVersion(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if len(segment) >= 2 && segment[0] == 'v' && segment[1] >= '0' && segment[1] <= '9' {
			return true
		}
	}
	return false
}

// cleanQuery takes out the parameters in which people put credentials: they are
// never read and never forwarded. The rest stays byte for byte.
func cleanQuery(raw string) string {
	if raw == "" {
		return ""
	}
	var kept []string
	for pair := range strings.SplitSeq(raw, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(name); err == nil {
			name = decoded
		}
		switch strings.ToLower(name) {
		case "key", "token", "access_token", "api_key", "apikey", "api-key":
			continue
		}
		if pair != "" && validQuery(pair) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}

// validQuery keeps out what would break the request line.
func validQuery(pair string) bool {
	for i := range len(pair) {
		if c := pair[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return false
		}
	}
	return true
}
