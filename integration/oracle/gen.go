package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// A gen makes one statement. Two sources of chance make it: one for the structure, one for the values, so that the same structure
// can be had again with other values, which must be planned anew or not as the values demand.
type gen struct {
	s, v     *rand.Rand
	params   []param
	extended bool
	tags     []string
	aliases  int
	pin      *pin    // the key that the statement is about; nil for statements about any rows
	free     bool    // nobody expects an answer
	ctes     []*from // WITH queries that FROM may name
	loose    bool
	cost     int // nodes so far; beyond a limit only leaves are made
	kept     int // parameters of finished rows
}

// A pin is a value of a sharding key.
type pin struct {
	family string
	values []string // in text form, by column of the key
}

func newGen(structure, values uint64, extended bool) *gen {
	return &gen{s: rand.New(rand.NewPCG(structure, 1)), v: rand.New(rand.NewPCG(values, 2)), extended: extended}
}

func (g *gen) tag(names ...string) {
	for _, n := range names {
		if !slices.Contains(g.tags, n) {
			g.tags = append(g.tags, n)
		}
	}
}

// chance is true in p of 100 cases, by structure.
func (g *gen) chance(p int) bool { return g.s.IntN(100) < p }

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// one picks one of the alternatives by weight, by structure.
func (g *gen) one(weights ...int) int {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	n := g.s.IntN(sum)
	for i, w := range weights {
		if n -= w; n < 0 {
			return i
		}
	}
	return 0
}

func (g *gen) alias() string {
	g.aliases++
	return fmt.Sprintf("%c%d", 'a'+g.s.IntN(5), g.aliases)
}

// small is a literal that may be calculated with.
func (g *gen) small() string { return fmt.Sprint(g.v.IntN(7) - 1) }

// value is a value of a kind as SQL, now and then one that does not fit. typed says that its type must show.
func (g *gen) value(k *kind, typed bool) string {
	odd := g.v.IntN(100)
	text := pick(g.v, k.pool)
	if len(k.odd) > 0 && odd < 4 && !typed {
		g.tag("odd value")
		n := len(g.params)
		g.render(k, text, typed) // the same structure
		g.params = g.params[:n]
		return pick(g.v, k.odd)
	}
	return g.render(k, text, typed)
}

// render writes a value in one of the ways of SQL, or makes it a parameter.
func (g *gen) render(k *kind, text string, typed bool) string {
	style := g.one(40, 10, 8, 4, 4, 2, 40)
	if style == 6 && g.extended {
		return g.param(k, text, typed)
	}
	bare := k.bare && !strings.ContainsAny(text, "NI")
	if typed && style < 2 {
		style = 2
	}
	lit := quote(text)
	switch {
	case strings.HasPrefix(lit, "'") && style == 5 && !strings.Contains(text, "$"):
		lit = "$q$" + text + "$q$"
	case style == 5:
		lit = "E'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
	}
	name := k.cast()
	switch style {
	case 0:
		if bare {
			return text
		}
	case 2:
		g.tag("cast of a value")
		if bare && text[0] != '-' {
			lit = text
		}
		return lit + "::" + name
	case 3:
		g.tag("cast of a value")
		return "CAST(" + lit + " AS " + name + ")"
	case 4:
		g.tag("type-prefixed constant")
		return name + " " + quote(text)
	}
	if typed {
		return lit + "::" + name
	}
	return lit
}

// param makes the value a parameter.
func (g *gen) param(k *kind, text string, typed bool) string {
	g.tag("parameter")
	p := param{text: text, of: k}
	null := g.v.IntN(60) == 0
	switch g.one(40, 35, 8) {
	case 1:
		p.declared = k.oid
	case 2:
		if k.close != 0 {
			p.declared = k.close
			g.tag("parameter of a near type")
		}
	}
	if g.chance(40) {
		p.encode = k.oid
		if p.declared != 0 {
			p.encode = p.declared
		}
		g.tag("binary parameter")
	}
	if null {
		p.null = true
	}
	if p.declared == 0 && typed && p.encode != 0 {
		p.declared = k.oid
	}
	again := g.chance(40)
	for i, o := range g.params {
		if again && o == p && !typed {
			return fmt.Sprintf("$%d", i+1)
		}
	}
	g.params = append(g.params, p)
	if typed && p.declared == 0 {
		return fmt.Sprintf("$%d::%s", len(g.params), k.cast())
	}
	return fmt.Sprintf("$%d", len(g.params))
}

// array is an array of values of a kind as SQL.
func (g *gen) array(k *kind, values []string) string {
	switch g.one(40, 30, 20) {
	case 1:
		g.tag("array literal")
		text := arrayText(values)
		if g.chance(50) {
			return quote(text) + "::" + k.cast() + "[]"
		}
		return quote(text)
	case 2:
		if g.extended {
			g.tag("array parameter")
			p := param{text: arrayText(values)}
			if g.chance(50) {
				p.declared = k.array
			}
			if g.chance(40) {
				p.encode = k.array
			}
			g.params = append(g.params, p)
			if g.chance(30) {
				return fmt.Sprintf("$%d::%s[]", len(g.params), k.cast())
			}
			return fmt.Sprintf("$%d", len(g.params))
		}
	}
	g.tag("ARRAY[…]")
	var list []string
	typed := !g.chance(40) || !k.bare
	for _, v := range values {
		if v == "NULL" {
			list = append(list, "NULL")
			continue
		}
		if k.bare && v[0] != 'I' && v[0] != 'N' {
			list = append(list, v)
		} else {
			list = append(list, quote(v))
		}
	}
	text := "ARRAY[" + strings.Join(list, ", ") + "]"
	if typed {
		text += "::" + k.cast() + "[]"
	}
	return text
}

func arrayText(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`
		if v == "NULL" {
			quoted[i] = v
		}
	}
	return "{" + strings.Join(quoted, ",") + "}"
}
