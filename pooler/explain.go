package pooler

import (
	"fmt"
	"strings"

	"pgdrover/shard"
)

// runExplain has the shards of an EXPLAIN explain their part and returns it as one result: in text format with the tier and the shards
// above, in other formats, of which there is one shard only, as it is.
func (c *client) runExplain(p *shard.Plan, m *fanMessages) ([]byte, error) {
	own := *p
	if len(own.Parts) == 0 {
		own.Parts = []shard.Part{{Shard: c.anyShard()}}
	}
	legs, err := c.assemble(&own)
	if err != nil {
		return nil, err
	}
	f := &fan{c: c, legs: legs, rows: true, limit: -1, hide: m.parse != nil, keep: make([][][]byte, len(legs))}
	err = f.run(func(i int) []byte { return m.of(&own.Parts[i]) })
	c.disband(legs, err == nil && f.failed == nil)
	if err != nil {
		return nil, closing(err)
	}
	if err := f.error(); err != nil {
		return nil, m.positioned(err)
	}
	var out []byte
	if p.Name != "text" {
		for _, rows := range f.keep {
			for _, row := range rows {
				out = append(out, row...)
			}
		}
		return appendTag(out, f.commandTag()), nil
	}
	names := make([]string, len(legs))
	for i, l := range legs {
		names[i] = l.pool.key.shard
	}
	out = appendDataRow(out, explainHead(p, names))
	for i, rows := range f.keep {
		indent := ""
		if len(legs) > 1 {
			out = appendDataRow(out, "  ->  Shard "+names[i])
			indent = "        "
		}
		for _, row := range rows {
			line, err := dataRow(row[headerLen:])
			if err != nil || len(line) != 1 || line[0] == nil {
				return nil, closing(fmt.Errorf("%w: EXPLAIN answers with something else than lines", errOutOfStep))
			}
			out = appendDataRow(out, indent+*line[0])
		}
	}
	return appendTag(out, f.commandTag()), nil
}

// explainHead is the line above the plans of the shards.
func explainHead(p *shard.Plan, names []string) string {
	head := "Shard " + names[0]
	switch {
	case len(names) > 1:
		kind := p.Inner.Kind.String()
		head = strings.ToUpper(kind[:1]) + kind[1:] + " on Shards " + strings.Join(names, ", ")
	case p.Inner.Kind == shard.NextID:
		head = "Shard of pgdrover.next_id(), here " + names[0]
	case p.Inner.Kind == shard.Anywhere:
		head = "Any Shard, here " + names[0]
	}
	head += fmt.Sprintf("  (tier=%d", p.Tier)
	if p.Key != "" {
		head += " key=" + p.Key
	}
	return head + ")"
}
