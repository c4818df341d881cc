-- Constants of SET were not calculated where no row had the condition: an UPDATE that computes the key looks for rows first.
UPDATE events SET customer_id = 99999999999999999999, id = CASE WHEN n = 4 THEN id ELSE 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' END WHERE id = '00000000-0000-0000-0000-00000000000f'

-- case
UPDATE by_integer SET n = 99999999999999999999, k = k + 1 WHERE v = 'nowhere'
