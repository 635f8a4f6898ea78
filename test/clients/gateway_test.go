package clients

import (
	"bytes"
	"strings"
	"testing"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// gateway is a running Realms with the scripted upstream behind it.
type gateway struct {
	URL, Token string // the base URL ends in /v1
	upstream   *testkit.Upstream
}

// startGateway runs Realms until the test ends.
func startGateway(t *testing.T) *gateway {
	t.Helper()
	up := testkit.NewUpstream(t, testkit.Options{Script: testkit.Always(scripted)})
	key := realm.Secret("test-" + "key")
	channel := catalog.ChannelSpec{
		Name: "scripted", Type: realm.OpenAICompatible, Enabled: true, Weight: 1, APIs: realm.AllAPIs,
		Endpoints: []catalog.EndpointSpec{{
			BaseURL:     up.BaseURL,
			Credentials: []catalog.CredentialSpec{{Name: "main", APIKey: &key, Enabled: true, Weight: 1}},
		}},
	}
	var models []realm.Model
	for _, name := range servedModels {
		models = append(models, realm.Model{Name: name, OwnedBy: "test", Enabled: true})
		channel.Bindings = append(channel.Bindings, realm.Binding{Model: name, Upstream: name})
	}
	var log bytes.Buffer
	t.Cleanup(func() { // runs after the app's own, when nobody writes any more
		if t.Failed() {
			t.Logf("the log of Realms:\n%s", log.Bytes())
		}
	})
	app := testapp.Start(t, testapp.Options{Models: models, Channels: []catalog.ChannelSpec{channel}, Log: &log})
	return &gateway{URL: app.URL + "/v1", Token: app.Token, upstream: up}
}

// scripted puts the script's answer in the place of testkit's own.
func scripted(r *testkit.Request, a *testkit.Answer) {
	answer := reply(r.Path, r.Body)
	a.Status, a.Header, a.Chunks = answer.status, answer.header, answer.chunks
	a.Framing = testkit.FrameChunked
}

// posts counts the model requests that reached the upstream on a path.
func (g *gateway) posts(path string) int {
	n := 0
	for _, r := range g.upstream.Requests() {
		if r.Method == "POST" && strings.HasSuffix(r.Path, path) {
			n++
		}
	}
	return n
}
