package pooler

import (
	"slices"

	"pgdrover/internal/catalog"
)

// noteMoved warns of rows that a new map looks for elsewhere than the maps before it: nothing has moved them. Commands ask first; a file that is saved
// does not. The warnings stay in SHOW CHECKS until the file says again what it said, or accepted tells that somebody knows.
func (p *Pooler) noteMoved(d *database, m *shardMap, accepted bool) {
	var moved []catalog.Problem
	if m != nil && d.settled != nil && !accepted {
		for _, v := range m.MovedFrom(d.settled) {
			moved = append(moved, catalog.Problem{
				Code: catalog.ProblemMoved, Relation: catalog.Name{Schema: v.Schema, Name: v.Table}, Object: v.Object, Message: v.Message, Warning: true,
				Hint: "Rows that are there already are not found. Put the file back, or move them; this goes with a command on the shard map that says WITHOUT MOVING ROWS, and with a restart.",
			})
		}
	}
	var known []catalog.Problem
	if was := d.moved.Load(); was != nil {
		known = *was
	}
	for _, pr := range moved {
		if !slices.Contains(known, pr) {
			p.log.Warn().Str("database", d.name).Str("check", pr.Code).Msg(pr.Message)
		}
	}
	d.moved.Store(&moved)
	if len(moved) == 0 {
		d.settled = m
	}
}
