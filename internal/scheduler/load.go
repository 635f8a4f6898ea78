package scheduler

// How far the choice looks before it goes through everything.
const (
	exact  = 16 // endpoints or credentials: as many are all compared by their load
	sample = 8  // as many of more, drawn at random
	// behind is by how many requests something may lag its peers: what was away does
	// not get all of them until it has caught up.
	behind = 4
)

// walk goes over a list of endpoints or credentials, from a random one on. Of a
// long one it draws a few; only if none of these may be asked, it goes on to all.
type walk struct {
	size, start int
	drawn       int // at most
	steps       int
}

func (p *Plan) walk(size int) walk {
	w := walk{size: size}
	if size > exact {
		w.drawn = 2 * sample
	} else if size > 1 {
		w.start = p.s.o.Rand(size)
	}
	return w
}

// more tells whether to look further, where as many as seen could be compared.
func (w *walk) more(seen int) bool {
	switch {
	case w.steps < w.drawn:
		return seen < sample
	case w.drawn > 0 && seen > 0:
		return false
	default:
		return w.steps < w.drawn+w.size
	}
}

// next is where to look.
func (w *walk) next(p *Plan) int {
	w.steps++
	if w.steps <= w.drawn {
		return p.s.o.Rand(w.size)
	}
	return (w.start + w.steps - 1) % w.size
}

// lighter compares two by what they have under way for their weight, then by whose
// turn it is. Weight 0 is for when nothing else is left.
func lighter(a *node, weightA int, b *node, weightB int, clock float64) bool {
	if (weightA == 0) != (weightB == 0) {
		return weightB == 0
	}
	if x, y := a.inFlight*max(weightB, 1), b.inFlight*max(weightA, 1); x != y {
		return x < y
	}
	return a.next(weightA, clock) < b.next(weightB, clock)
}

// next is when the node's turn is, by its parent's clock.
func (n *node) next(weight int, clock float64) float64 {
	return max(n.turn, clock-behind/float64(max(weight, 1)))
}

// advance moves the turns of what was chosen.
func (c *choice) advance() {
	c.endpoint.node.advance(c.endpoint.weight, c.channel.node)
	c.credential.node.advance(c.credential.cr.Weight, c.endpoint.node)
}

func (n *node) advance(weight int, parent *node) {
	n.turn = n.next(weight, parent.clock)
	parent.clock = max(parent.clock, n.turn)
	n.turn += 1 / float64(max(weight, 1))
}
