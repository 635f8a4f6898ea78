package catalog

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"realms/internal/realm"
	"realms/internal/store"
)

// What is shown in place of a secret.
const (
	secretSet     = "set"
	secretChanged = "changed"
	secretNone    = "none"
	secretLost    = "unreadable"
)

// diff collects the fields in which a declared object differs from the stored.
type diff struct{ fields []store.FieldChange }

func (d *diff) text(field, before, after string) {
	if before != after {
		d.fields = append(d.fields, store.FieldChange{Field: field, Before: before, After: after})
	}
}

func (d *diff) number(field string, before, after int64) {
	d.text(field, strconv.FormatInt(before, 10), strconv.FormatInt(after, 10))
}

func (d *diff) flag(field string, before, after bool) {
	d.text(field, strconv.FormatBool(before), strconv.FormatBool(after))
}

func (d *diff) list(field string, before, after []string) {
	d.text(field, showList(before), showList(after))
}

func showList(list []string) string { return "[" + strings.Join(list, ", ") + "]" }

func (d *diff) price(before, after *realm.Price) {
	old, now := priceFields(before), priceFields(after)
	for i := range old {
		d.text("price."+old[i].name, showMoney(old[i].amount), showMoney(now[i].amount))
	}
	if (before == nil) != (after == nil) {
		d.text("price", showPriced(before), showPriced(after))
	}
}

func showMoney(m *realm.Money) string {
	if m == nil {
		return ""
	}
	return m.String()
}

func showPriced(p *realm.Price) string {
	if p == nil {
		return "unpriced"
	}
	return "priced"
}

// compat tells nil, the preset of the model's family, from an empty list.
func (d *diff) compat(before, after []string) {
	show := func(list []string) string {
		if list == nil {
			return "preset"
		}
		return showList(list)
	}
	d.text("compat", show(before), show(after))
}

func (d *diff) bindings(before, after []realm.Binding) {
	show := func(list []realm.Binding) []string {
		names := make([]string, 0, len(list))
		for _, b := range list {
			if b.Upstream == b.Model || b.Upstream == "" {
				names = append(names, b.Model)
			} else {
				names = append(names, b.Model+"→"+b.Upstream)
			}
		}
		slices.Sort(names) // the order of bindings means nothing
		return names
	}
	d.list("models", show(before), show(after))
	timeouts := func(list []realm.Binding, model string) (t realm.Timeouts) {
		if i := slices.IndexFunc(list, func(b realm.Binding) bool { return b.Model == model }); i >= 0 {
			t = list[i].Timeouts
		}
		return t
	}
	for _, b := range after { // what is gone took its time-outs with it
		d.timeouts("models["+b.Model+"].timeouts", timeouts(before, b.Model), b.Timeouts)
	}
}

func sortCredentials(list []*realm.Credential) {
	slices.SortFunc(list, func(a, b *realm.Credential) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Name, b.Name))
	})
}
