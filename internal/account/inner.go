package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
)

// Inner is the verbs over one transaction. Each returns what it changed, nothing
// if all was as it should be. An error may join several *realm.Error, whose
// Field is relative to the object ("groups[0]").
//
// Whether a user meets a codex_oauth channel in a group is not asked here: that
// depends on what else the transaction does (catalog.Inner.CheckCodexGroups).
type Inner struct {
	Repos store.Repos
	Actor string    // for the audit row: "cli", a user's id
	Now   time.Time // of the transaction
}

func (x Inner) record(ctx context.Context, m store.Mutation) ([]store.Mutation, error) {
	if err := x.Repos.Record(ctx, x.Actor, m); err != nil {
		return nil, fmt.Errorf("%s %s: %w", m.Verb, m.Kind, err)
	}
	return []store.Mutation{m}, nil
}

// edit is every public verb: the inner one in a transaction, then its effect on
// this process without waiting for the change feed.
func (s *Service) edit(ctx context.Context, actor string, verb func(Inner) ([]store.Mutation, error)) ([]store.Mutation, error) {
	var done []store.Mutation
	err := s.store.Tx(ctx, func(r store.Repos) error {
		if err := r.Changes.Lock(ctx); err != nil {
			return err
		}
		var err error
		done, err = verb(Inner{Repos: r, Actor: actor, Now: s.now()})
		return err
	})
	if err != nil {
		return nil, err
	}
	s.renew(ctx, done)
	return done, nil
}

// problems collects everything that is wrong with one object.
type problems []error

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, realm.Invalid(field, fmt.Sprintf(format, args...)))
}

func (p *problems) name(field, name string) string {
	clean, err := realm.CleanName(field, name)
	if err != nil {
		*p = append(*p, err)
	}
	return clean
}

// names cleans a list without repetition; nil stays nil.
func (p *problems) names(field string, list []string) []string {
	if list == nil {
		return nil
	}
	clean := make([]string, 0, len(list))
	for i, name := range list {
		name = p.name(index(field, i), name)
		if name != "" && slices.Contains(clean, name) {
			p.add(index(field, i), "%q is listed twice.", name)
		}
		clean = append(clean, name)
	}
	return clean
}

func (p problems) err() error { return errors.Join(p...) }

func index(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// groupNames is every group's name by id.
func groupNames(ctx context.Context, r store.Repos) (map[realm.ID]string, error) {
	groups, err := r.Groups.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the groups: %w", err)
	}
	names := make(map[realm.ID]string, len(groups))
	for _, g := range groups {
		names[g.ID] = g.Name
	}
	return names, nil
}

func namesOf(ids []realm.ID, names map[realm.ID]string) []string {
	if ids == nil {
		return nil
	}
	list := make([]string, 0, len(ids))
	for _, id := range ids {
		if name, ok := names[id]; ok {
			list = append(list, name)
		}
	}
	return list
}

// idsOf is the ids of groups by name, in order; each unknown one is a problem.
func (p *problems) idsOf(list []string, names map[realm.ID]string) []realm.ID {
	if list == nil {
		return nil
	}
	byName := make(map[string]realm.ID, len(names))
	for id, name := range names {
		byName[name] = id
	}
	ids := make([]realm.ID, 0, len(list))
	for i, name := range list {
		id, ok := byName[name]
		if !ok {
			p.add(index("groups", i), "There is no group named %q: declare it under groups first.", name)
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

func noSuch(err error, kind, field, name string) error {
	if !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read %s: %w", kind, err)
	}
	return &realm.Error{
		Code: realm.CodeNotFound, Field: field,
		Message: fmt.Sprintf("There is no %s named %q.", kind, name), Err: err,
	}
}
