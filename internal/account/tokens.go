package account

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
)

// TokenSpec is what a new token may do.
type TokenSpec struct {
	User      string         // its owner's name
	Name      string         // a label to know it by; several tokens may have the same
	Groups    []string       // ordered, of its user's; nil: all of them
	Models    []string       // nil: all that its groups offer
	Networks  []netip.Prefix // nil: from anywhere
	ExpiresAt time.Time      // zero: never
}

// Bounds that keep a token's row and its look-up small.
const (
	maxTokenModels   = 200
	maxTokenNetworks = 100
)

// AddToken stores a token of the given text for a user, and keeps only its hash.
// The token's Hash and ID are filled.
func (x Inner) AddToken(ctx context.Context, verb string, spec TokenSpec, text realm.Secret) (*realm.Token, []store.Mutation, error) {
	t, err := x.newToken(ctx, spec)
	if err != nil {
		return nil, nil, err
	}
	t.Hash, t.Hint = HashToken(text.Reveal()), hint(text.Reveal())
	if err := x.refuseKnown(ctx, t.Hash); err != nil {
		return nil, nil, err
	}
	if err := x.Repos.Tokens.Insert(ctx, t); err != nil {
		return nil, nil, fmt.Errorf("insert token: %w", err)
	}
	m := store.Mutation{
		Verb: verb, Kind: store.KindToken, ID: t.ID, Name: t.Name,
		Fields: []store.FieldChange{{Field: "user", After: spec.User}, {Field: "hint", After: t.Hint}},
	}
	if t.Groups != nil {
		m.Fields = append(m.Fields, store.FieldChange{Field: "groups", After: showList(spec.Groups)})
	}
	if t.Models != nil {
		m.Fields = append(m.Fields, store.FieldChange{Field: "models", After: showList(t.Models)})
	}
	if t.Networks != nil {
		m.Fields = append(m.Fields, store.FieldChange{Field: "networks", After: fmt.Sprint(t.Networks)})
	}
	if !t.ExpiresAt.IsZero() {
		m.Fields = append(m.Fields, store.FieldChange{Field: "expires_at", After: t.ExpiresAt.UTC().Format(time.RFC3339)})
	}
	done, err := x.record(ctx, m)
	return t, done, err
}

func (x Inner) refuseKnown(ctx context.Context, hash realm.TokenHash) error {
	old, err := x.Repos.Tokens.ByHash(ctx, hash)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("read token: %w", err)
	case !old.RevokedAt.IsZero():
		return conflict("token", "This token was revoked here; it cannot come back. Create a new one.")
	}
	return conflict("token", "This token is already here, as %q with the id %s.", old.Name, old.ID)
}

func conflict(field, format string, args ...any) error {
	return &realm.Error{Code: realm.CodeConflict, Field: field, Message: fmt.Sprintf(format, args...)}
}

func (x Inner) newToken(ctx context.Context, spec TokenSpec) (*realm.Token, error) {
	var p problems
	t := &realm.Token{
		Name: p.name("name", spec.Name), ExpiresAt: spec.ExpiresAt, CreatedAt: x.Now,
		Models: p.names("models", spec.Models), Networks: p.networks(spec.Networks),
	}
	if len(t.Models) > maxTokenModels {
		p.add("models", "It lists %d; at most %d are allowed.", len(t.Models), maxTokenModels)
	}
	if i := slices.Index(t.Models, realm.AnyModel); i >= 0 {
		p.add(index("models", i), "Leave the list out to allow every model.")
	}
	if !spec.ExpiresAt.IsZero() && !spec.ExpiresAt.After(x.Now) {
		p.add("expires_at", "It is in the past.")
	}
	u, err := x.Repos.Users.ByName(ctx, spec.User)
	switch {
	case errors.Is(err, store.ErrNotFound):
		p.add("user", "There is no user named %q.", spec.User)
	case err != nil:
		return nil, fmt.Errorf("read user: %w", err)
	case !u.Enabled:
		p.add("user", "The user %q is disabled: enable it first.", spec.User)
	default:
		t.UserID = u.ID
		if t.Groups, err = x.tokenGroups(ctx, &p, spec.Groups, u); err != nil {
			return nil, err
		}
	}
	return t, p.err()
}

// tokenGroups is the ids of a token's groups, which must be its user's.
func (x Inner) tokenGroups(ctx context.Context, p *problems, list []string, u *realm.User) ([]realm.ID, error) {
	if list == nil {
		return nil, nil
	}
	names, err := groupNames(ctx, x.Repos)
	if err != nil {
		return nil, err
	}
	list = p.names("groups", list)
	if len(list) == 0 {
		p.add("groups", "Without any group a token can reach nothing: leave the list out to give it all of its user's.")
	}
	ids := p.idsOf(list, names)
	for _, id := range ids {
		if !slices.Contains(u.Groups, id) {
			p.add("groups", "The user %q is not in the group %q.", u.Name, names[id])
		}
	}
	return ids, nil
}

// networks is the prefixes without host bits, IPv4 never inside IPv6.
func (p *problems) networks(list []netip.Prefix) []netip.Prefix {
	if len(list) == 0 {
		return nil
	}
	if len(list) > maxTokenNetworks {
		p.add("networks", "It lists %d; at most %d are allowed.", len(list), maxTokenNetworks)
	}
	clean := make([]netip.Prefix, 0, len(list))
	for i, n := range list {
		if !n.IsValid() {
			p.add(index("networks", i), "It is not a network; one like 192.0.2.0/24 is expected.")
			continue
		}
		if n.Addr().Is4In6() && n.Bits() >= 96 {
			n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
		}
		clean = append(clean, n.Masked())
	}
	return clean
}

// CreateToken makes a token and returns its text, which nothing can show again.
func (s *Service) CreateToken(ctx context.Context, actor string, spec TokenSpec) (realm.Secret, *realm.Token, error) {
	text := MintToken()
	t, err := s.addToken(ctx, actor, "create", spec, text)
	if err != nil {
		return "", nil, err
	}
	return text, t, nil
}

// ImportToken takes in a token that was made elsewhere, so that its holder need
// not change it: 16 to 512 printable ASCII characters without a space, and with
// a right checksum where it begins like one of ours.
func (s *Service) ImportToken(ctx context.Context, actor string, spec TokenSpec, text realm.Secret) (*realm.Token, error) {
	if err := checkImported(text.Reveal()); err != nil {
		return nil, err
	}
	return s.addToken(ctx, actor, "import", spec, text)
}

func (s *Service) addToken(ctx context.Context, actor, verb string, spec TokenSpec, text realm.Secret) (*realm.Token, error) {
	var t *realm.Token
	_, err := s.edit(ctx, actor, func(x Inner) (done []store.Mutation, err error) {
		t, done, err = x.AddToken(ctx, verb, spec, text)
		return done, err
	})
	return t, err
}
