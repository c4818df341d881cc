package shard

import (
	"errors"

	"pgdrover/shard/copyrows"
	"pgdrover/shard/hash"
)

// Options are the options for reading the rows, on servers of a major version.
func (c *Copy) Options(encoding string, version int) copyrows.Format {
	f := copyrows.Format{
		Kind: copyrows.Text, Delimiter: c.Format.Delimiter, Null: c.Format.Null, HasNull: c.Format.HasNull, Header: c.Format.Header,
		Quote: c.Format.Quote, Escape: c.Format.Escape, ForceNull: c.Format.ForceNull, ForceNotNull: c.Format.ForceNot,
		Encoding: c.Format.Encoding, Version: version,
	}
	if f.Encoding == "" {
		f.Encoding = encoding
	}
	switch c.Format.Name {
	case "csv":
		f.Kind = copyrows.CSV
	case "binary":
		f = copyrows.Format{Kind: copyrows.Binary, Version: version}
	}
	return f
}

// Locate returns the shard of a row of a COPY FROM by the fields of its key. A value that every server rejects has the row sent to the
// first shard of the key, to be rejected there.
func (c *Copy) Locate(fields []copyrows.Field) (int, error) {
	var few [maxFastColumns]hash.Value
	values := few[:0]
	for k, f := range fields {
		a := &c.assign[k]
		if f.Default || f.ServerBytes {
			return 0, refuse(RefuseKeyValue, a.name)
		}
		v := hash.Null()
		if !f.Null {
			var err error
			if c.Format.Name == "binary" {
				v, err = a.typ.ParseBinary(f.Value)
			} else {
				v, err = a.typ.ParseText(f.Value)
			}
			if err == nil {
				v, err = a.typ.Assign(v, a.typmod)
			}
			switch {
			case errors.Is(err, hash.ErrInvalid):
				return c.Table.Key.Shards()[0], nil
			case err != nil:
				return 0, refuse(RefuseKeyValue, a.name)
			}
		}
		values = append(values, v)
	}
	return place(c.Table, c.assign, values)
}
