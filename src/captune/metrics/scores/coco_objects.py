"""The 80 object classes of COCO with everyday words for each, which CHAIR looks for in captions.

The list is captune's own, not that of the CHAIR paper; pass that list as `words` to use it.
Words are singular and lower case; plurals are derived from them. The first word is the class.
"""

from __future__ import annotations

COCO_OBJECTS = """\
person, man, woman, boy, girl, child, kid, baby, toddler, infant, guy, gentleman, lady, lad, \
teenager, adult, player, skier, surfer, snowboarder, skateboarder, skater, rider, biker, \
cyclist, motorcyclist, batter, pitcher, catcher, umpire, athlete, swimmer, worker, policeman, \
police officer, officer, soldier, chef, cook, waiter, waitress, doctor, nurse, student, teacher, \
farmer, fisherman, fireman, firefighter, businessman, pedestrian, passenger, driver, tourist, \
bride, groom, mother, father, mom, dad, son, daughter, brother, sister, grandmother, \
grandfather, cowboy, jockey, goalie, spectator, bystander
bicycle, bike, cycle, tricycle
car, automobile, sedan, suv, taxi, taxi cab, cab, minivan, van, jeep, hatchback, convertible, \
limousine, police car
motorcycle, motorbike, motor bike, motor cycle, scooter, moped, dirt bike
airplane, plane, aeroplane, aircraft, air plane, jet, jetliner, airliner, biplane, fighter jet, \
jumbo jet
bus, minibus, school bus, double decker, trolley bus
train, locomotive, tram, streetcar, subway train, railcar, train car
truck, pickup, pickup truck, lorry, semi truck, dump truck, fire truck, firetruck, tow truck, \
delivery truck, food truck
boat, ship, sailboat, canoe, kayak, raft, ferry, yacht, rowboat, gondola, dinghy, tugboat, \
speedboat, motorboat
traffic light, traffic signal, stop light, stoplight
fire hydrant, hydrant, fireplug
stop sign
parking meter
bench, park bench, pew
bird, pigeon, seagull, gull, duck, duckling, goose, gosling, swan, owl, parrot, parakeet, eagle, \
hawk, crow, chicken, rooster, hen, ostrich, peacock, penguin, flamingo, pelican, heron, sparrow, \
hummingbird
cat, kitten, kitty, feline, tabby
dog, puppy, pup, doggy, canine, poodle, terrier, labrador, bulldog, dachshund, pug, beagle, \
german shepherd, golden retriever
horse, pony, foal, colt, mare, stallion
sheep, lamb, ram, ewe
cow, cattle, bull, calf, ox, heifer, steer
elephant
bear, polar bear, grizzly, grizzly bear, panda, panda bear
zebra
giraffe
backpack, knapsack, rucksack, back pack
umbrella, parasol
handbag, purse, hand bag, pocketbook
tie, necktie, bow tie, bowtie
suitcase, luggage, suit case, briefcase
frisbee
ski
snowboard, snow board
sports ball, ball, basketball, soccer ball, tennis ball, football
kite
baseball bat
baseball glove, baseball mitt, catchers mitt
skateboard, skate board, longboard
surfboard, surf board, paddleboard
tennis racket, racket, racquet, tennis racquet
bottle, water bottle, wine bottle, beer bottle
wine glass, wineglass, champagne glass
cup, mug, coffee cup, teacup, tea cup
fork
knife, pocketknife
spoon, ladle
bowl
banana
apple
sandwich, burger, hamburger, cheeseburger, sub sandwich, panini
orange, tangerine, clementine
broccoli
carrot
hot dog, hotdog
pizza
donut, doughnut
cake, cupcake, cheesecake, wedding cake, birthday cake
chair, armchair, stool, seat, recliner, high chair
couch, sofa, loveseat, futon
potted plant, houseplant, house plant, potted flower
bed, bunk bed, crib
dining table, table, desk, coffee table, kitchen table, picnic table
toilet, urinal, toilet seat, commode
tv, television, tv set, television set, monitor, computer monitor
laptop, laptop computer, notebook computer
mouse, computer mouse
remote, remote control, game controller, wii controller, wii remote
keyboard, computer keyboard
cell phone, cellphone, mobile phone, phone, smartphone, smart phone, telephone
microwave, microwave oven
oven, stove, stove top, stovetop
toaster, toaster oven
sink
refrigerator, fridge
book, novel, textbook
clock, clock tower, alarm clock, wall clock
vase
scissors, pair of scissors, shears
teddy bear, teddy, stuffed bear, teddybear
hair drier, hair dryer, hairdryer, blow dryer
toothbrush, tooth brush
"""
"""One line per class, in the format of the files that `read_object_words` reads."""

NOT_OBJECTS: tuple[str, ...] = (
    *("train track", "train station", "railroad track", "bus stop", "bus station", "bike rack"),
    *("car park", "bird house", "bird cage", "dog house", "cat food", "dog food", "book shelf"),
    *("book case", "boat house", "orange juice", "apple juice", "phone booth", "mouse pad"),
    *("table cloth", "bed room", "toilet paper", "clock face", "kite surfing", "parking lot"),
    *("ski slope", "ski lift", "ski pole", "ski resort", "ski jump", "horse drawn", "pizza box"),
    *("ball park", "ball game", "ball field", "banana split", "apple pie", "fork lift"),
    *("remote area", "remote location", "remote beach", "orange sky", "cell tower"),
)
"""Phrases that contain an object's word but do not name that object; their words are ignored."""

ANIMALS = frozenset(
    ["bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"]
)
"""Classes whose young are that animal, not a child: "baby elephant"."""

VEHICLES = frozenset(["bus", "train", "airplane", "boat", "car"])
"""Classes that carry passengers: "passenger jet" does not name a person."""
