package catalog

import (
	"net/textproto"
	"slices"
	"strings"

	"realms/internal/realm"
)

// codexEndpoints are those of a codex_oauth channel: one at most, without a base
// URL, and credentials without keys.
func (p *problems) codexEndpoints(list []EndpointSpec) []EndpointSpec {
	clean := make([]EndpointSpec, 0, len(list))
	for i, ep := range list {
		field := index("endpoints", i)
		if strings.TrimSpace(ep.BaseURL) != "" {
			p.add(field+".base_url", "A channel of the type %s asks the one backend that there is for ChatGPT accounts: leave base_url out.", realm.CodexOAuth)
		}
		if i > 0 {
			p.add(field, "A channel of the type %s has one endpoint: list every credential under the first.", realm.CodexOAuth)
		}
		for j, cr := range ep.Credentials {
			if cr.APIKey != nil && *cr.APIKey != "" {
				p.add(field+"."+index("credentials", j)+".api_key",
					"A credential of this type is a ChatGPT account that signs in, and has no key: leave api_key out. For an API key declare a channel of the type %s.", realm.OpenAICompatible)
			}
		}
		clean = append(clean, EndpointSpec{Credentials: withoutKeys(p.credentials(field, ep.Credentials))})
	}
	return clean
}

func withoutKeys(list []CredentialSpec) []CredentialSpec {
	for i := range list {
		list[i].APIKey = nil
	}
	return list
}

// codexSettings refuses what would do nothing on a codex_oauth channel, or would
// make an account look like what it is not.
func (p *problems) codexSettings(s *realm.ChannelSettings) {
	if s.Probe != 0 {
		p.add("probe", "Questions that nobody asked would use up the account's allowance: leave it out.")
	}
	if s.SafetyIdentifier == realm.SafetyHMAC {
		p.add("safety_identifier", "The backend of ChatGPT accounts takes no such field, so that it never goes up: leave it out.")
	}
	if len(s.StatusMap) > 0 {
		p.add("status_map", "What a status says of a ChatGPT account, a limit that was reached among it, is not to be read in another way: leave it out.")
	}
	for _, name := range sortedKeys(s.SetHeaders) {
		p.codexHeader("headers.set."+name, name)
		if tellsSessions(canonicalHeader(name)) {
			p.add("headers.set."+name, "%s tells machines, sessions or turns apart: one value for all of them would be made up.", canonicalHeader(name))
		}
	}
	for i, name := range s.DeleteHeaders {
		p.codexHeader(index("headers.delete", i), name)
	}
}

func canonicalHeader(name string) string {
	return textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
}

// codexIdentity are headers that say whose account a request is of and who makes
// it, by canonical names.
var codexIdentity = []string{
	"Chatgpt-Account-Id", "Cookie", "Originator", "X-Oai-Attestation", "X-Openai-Account-Routing-Override", "X-Openai-Fedramp",
}

func (p *problems) codexHeader(field, name string) {
	if name = canonicalHeader(name); slices.Contains(codexIdentity, name) {
		p.add(field, "%s cannot be changed on a channel of the type %s: it is the account's identity, or Realms' own.", name, realm.CodexOAuth)
	}
}

// codexSessions are headers that Codex clients make anew for a session or a turn,
// by canonical names, beside those that begin with X-Codex-.
var codexSessions = []string{"Conversation_id", "Session-Id", "Session_id", "Thread-Id", "X-Client-Request-Id"}

func tellsSessions(name string) bool {
	return slices.Contains(codexSessions, name) || strings.HasPrefix(name, "X-Codex-") && name != "X-Codex-Beta-Features"
}
