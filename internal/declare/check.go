package declare

import (
	"context"
	"fmt"
	"slices"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/yamldoc"
)

// Check is everything that is wrong with a document that Read refused: what Read
// found, and the groups that neither the file nor the store has, so that nobody
// mends a file only to hear of these. A nil store has the default group alone. An
// error says that the store could not be asked.
func (doc *Document) Check(ctx context.Context, s *store.Store) (yamldoc.Problems, error) {
	found := slices.Clone(doc.problems)
	if doc.groups.partial {
		return found, nil // what the file meant to declare is not known
	}
	known := []string{realm.DefaultGroup}
	for _, e := range doc.groups.entries {
		known = append(known, e.name)
	}
	if s != nil {
		groups, err := s.Read().Groups.List(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the groups: %w", err)
		}
		for _, g := range groups {
			known = append(known, g.Name)
		}
	}
	for _, e := range doc.channels.entries {
		found = doc.unknownGroups(found, e.path, e.spec.Groups, known)
	}
	for _, e := range doc.users.entries {
		found = doc.unknownGroups(found, e.path, e.spec.Groups, known)
	}
	return found, nil
}

// unknownGroups adds the names that are not known, in the services' words, unless
// there is a complaint of that field already.
func (doc *Document) unknownGroups(found yamldoc.Problems, path string, names, known []string) yamldoc.Problems {
	for i, name := range names {
		field := yamldoc.Index(yamldoc.Key(path, "groups"), i)
		told := slices.ContainsFunc(found, func(p yamldoc.Problem) bool { return p.Field == field })
		if !told && !slices.Contains(known, name) {
			found.Add(doc.source, lineOf(doc.lines, field), field, "There is no group named %q: declare it under groups first.", name)
		}
	}
	return found
}
