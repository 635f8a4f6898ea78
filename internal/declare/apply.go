package declare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"realms/internal/account"
	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/yamldoc"
)

// Options of Apply.
type Options struct {
	Store *store.Store
	Actor string           // for the audit rows
	Now   func() time.Time // nil: time.Now
	// Prune removes what the file's sections do not name: channels, endpoints,
	// credentials, models and groups are deleted, users disabled.
	Prune bool
	// DryRun changes nothing.
	DryRun bool
}

// Result is what Apply did, or would do.
type Result struct {
	Changes []store.Mutation
	// Notes are lines for the operator: what the file does not name and was kept.
	Notes []string
}

var errDryRun = errors.New("dry run")

// Apply makes the store what the document says, in one transaction: wholly, or
// not at all. What is wrong with the document comes as one yamldoc.Problems.
func (doc *Document) Apply(ctx context.Context, o Options) (*Result, error) {
	now := o.Now
	if now == nil {
		now = time.Now
	}
	var result *Result
	err := o.Store.Tx(ctx, func(r store.Repos) error {
		if err := r.Changes.Lock(ctx); err != nil {
			return fmt.Errorf("lock the store for changes: %w", err)
		}
		at := now()
		a := &application{
			doc:     doc,
			prune:   o.Prune,
			result:  &Result{},
			catalog: catalog.Inner{Repos: r, Actor: o.Actor, Now: at},
			account: account.Inner{Repos: r, Actor: o.Actor, Now: at},
		}
		if err := a.run(ctx); err != nil {
			return err
		}
		result = a.result
		if o.DryRun {
			return errDryRun
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return nil, err
	}
	return result, nil
}

// application is one run over one transaction.
type application struct {
	doc      *Document
	prune    bool
	catalog  catalog.Inner
	account  account.Inner
	before   *catalog.State
	result   *Result
	problems yamldoc.Problems
}

// run goes from what is referred to, to what refers, and removes the other way
// round.
func (a *application) run(ctx context.Context) error {
	var err error
	if a.before, err = catalog.Read(ctx, a.catalog.Repos); err != nil {
		return fmt.Errorf("read the catalogue: %w", err)
	}
	for _, step := range []func(context.Context) error{a.declareCatalog, a.declareUsers} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := a.problems.Err(); err != nil {
		return err // removing makes sense only from what was to be
	}
	for _, step := range []func(context.Context) error{a.removeUsers, a.removeChannels, a.removeModels, a.removeGroups, a.checkCodexGroups} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return a.problems.Err()
}

func (a *application) declareCatalog(ctx context.Context) error {
	for _, e := range a.doc.groups.entries {
		done, err := a.catalog.UpsertGroup(ctx, e.spec)
		if err := a.took(e.path, done, err); err != nil {
			return err
		}
	}
	for _, e := range a.doc.models.entries {
		done, err := a.catalog.UpsertModel(ctx, e.spec)
		if err := a.took(e.path, done, err); err != nil {
			return err
		}
	}
	for _, e := range a.doc.channels.entries {
		var done []store.Mutation
		err := a.checkSettings(e.spec)
		if err == nil {
			done, err = a.catalog.UpsertChannel(ctx, a.merge(e.spec))
		}
		if err := a.took(e.path, done, err); err != nil {
			return err
		}
	}
	return nil
}

func (a *application) declareUsers(ctx context.Context) error {
	for _, e := range a.doc.users.entries {
		done, err := a.account.UpsertUser(ctx, e.spec)
		if err := a.took(e.path, done, err); err != nil {
			return err
		}
	}
	return nil
}

// checkCodexGroups asks at the end, because in whatever order the file moves
// channels and users, what counts is where they came to be.
func (a *application) checkCodexGroups(ctx context.Context) error {
	shared, err := a.catalog.SharedAccounts(ctx)
	if err != nil {
		return fmt.Errorf("check the groups of ChatGPT accounts: %w", err)
	}
	for _, s := range shared {
		path := a.doc.channels.pathOf(func(name string) bool { return name == s.Channel })
		if path == "" {
			path = a.doc.users.pathOf(func(name string) bool { return slices.Contains(s.Users, name) })
		}
		if err := a.took(path, nil, s.Err()); err != nil {
			return err
		}
	}
	return nil
}

// took keeps what a verb did, or what it found wrong with the thing at path; it
// returns an error that is no fault of the file.
func (a *application) took(path string, done []store.Mutation, err error) error {
	if err == nil {
		a.result.Changes = append(a.result.Changes, done...)
		return nil
	}
	found := flatten(err)
	for _, e := range found {
		if e.Code == realm.CodeInternal || e.Code == realm.CodeUnavailable {
			return err
		}
	}
	for _, e := range found {
		field := path
		if e.Field != "" {
			field = yamldoc.Key(path, e.Field)
		}
		a.problems.Add(a.doc.source, lineOf(a.doc.lines, field), field, "%s", e.Message)
	}
	return nil
}

func (a *application) note(format string, args ...any) {
	a.result.Notes = append(a.result.Notes, fmt.Sprintf(format, args...))
}
